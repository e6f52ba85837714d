"""Stripe's webhooks: whose word it is, and what it means for a hold."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import stripe

TOLERANCE_SECONDS = 300
"""How old a signature may be: Stripe signs each attempt anew."""

HOLD_KEY = "inventory_reservation_id"
SHOP_KEY = "shop_id"
"""The metadata by which a payment names its hold."""


_ID = re.compile(r"[\x21-\x7e]{1,255}")
"""Stripe's ids. What is none could not be written down: Postgres takes no NUL, Temporal no id as long as a book."""


class BadSignatureError(Exception):
    """Nobody who knows one of the secrets signed this body just now."""


class MalformedError(Exception):
    """It is signed, and is no event."""


Meaning = Literal["succeeded", "authorized", "processing", "failed", "ended", "record", "refund_failed", "ignored"]


@dataclass(frozen=True, slots=True)
class Heard:
    """One event, in Holdfast's terms."""

    event_id: str
    type: str
    meaning: Meaning
    shop_id: str | None = None
    hold_id: str | None = None
    session_id: str | None = None
    intent_id: str | None = None
    about: str | None = None
    """The id of the object that the event is about."""
    livemode: bool = False


def verify(body: bytes, header: str | None, secrets: Iterable[str]) -> None:
    """Raise BadSignatureError unless one of the secrets has signed the body within the last 300 s."""
    if not (header or "").isascii():
        raise BadSignatureError("the header is not ASCII")
    reason = "no secret is set"
    for secret in secrets:
        try:
            stripe.WebhookSignature.verify_header(body.decode(), header or "", secret, TOLERANCE_SECONDS)
        except (stripe.SignatureVerificationError, UnicodeDecodeError) as error:
            reason = str(error)
        else:
            return
    raise BadSignatureError(reason)


def heard(body: bytes) -> Heard:
    """Translate a snapshot event by the table of docs/integration.md. Raises MalformedError for what is no event."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedError("the body is not JSON") from error
    event_id = _id(event.get("id")) if isinstance(event, dict) else None
    if event_id is None or not isinstance(event.get("type"), str):
        raise MalformedError("the body is no event: it has no id and type")
    data = event.get("data")
    of = data.get("object") if isinstance(data, dict) else None
    if event.get("object") != "event" or not isinstance(of, dict):
        return Heard(event_id, event["type"], "ignored")  # a thin event, or one of another API
    intent = _id(of.get("id" if event["type"].startswith("payment_intent.") else "payment_intent"))
    metadata = of["metadata"] if isinstance(of.get("metadata"), dict) else {}
    return Heard(
        event_id=event_id,
        type=event["type"],
        meaning=_meaning(event["type"], of),
        shop_id=_text(metadata, SHOP_KEY),
        hold_id=_text(metadata, HOLD_KEY),
        session_id=_id(of.get("id")) if event["type"].startswith("checkout.session.") else None,
        intent_id=intent,
        about=_id(of.get("id")),
        livemode=event.get("livemode") is True,
    )


_MEANINGS: dict[str, Meaning] = {
    "checkout.session.async_payment_succeeded": "succeeded",
    "checkout.session.async_payment_failed": "ended",
    "checkout.session.expired": "ended",
    "payment_intent.succeeded": "succeeded",
    "payment_intent.amount_capturable_updated": "authorized",
    "payment_intent.processing": "processing",
    "payment_intent.payment_failed": "failed",
    "payment_intent.canceled": "ended",
    "charge.refunded": "record",
    "refund.created": "record",
    "refund.updated": "record",
    "refund.failed": "refund_failed",
    "charge.dispute.created": "record",
    "charge.dispute.updated": "record",
    "charge.dispute.closed": "record",
    "charge.dispute.funds_withdrawn": "record",
    "charge.dispute.funds_reinstated": "record",
}

HANDLED = frozenset({*_MEANINGS, "checkout.session.completed"})
"""The events to subscribe to."""


def _meaning(kind: str, of: Mapping[str, Any]) -> Meaning:
    if kind == "checkout.session.completed":
        # Unpaid may be under way, authorised, or a voucher that waits: the PaymentIntent tells, not the event.
        return "processing" if of.get("payment_status") == "unpaid" else "succeeded"
    return _MEANINGS.get(kind, "ignored")


def _text(of: Mapping[str, Any], name: str) -> str | None:
    value = of.get(name)
    return value if isinstance(value, str) and value else None


def _id(value: object) -> str | None:
    """Return the id of what may be an id or the object itself."""
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) and _ID.fullmatch(value) else None
