"""Stripe's webhook events: verifies their signature and translates them into Holdfast's terms."""

import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import stripe

from domain.holds import HoldKey
from domain.names import is_name
from domain.payments import Payment
from payments.errors import InvalidEventError, InvalidSignatureError

TOLERANCE_SECONDS = 300
"""How far a signature's time may be from the present, in the past and in the future. Stripe signs each attempt anew."""
_SIGNATURE = re.compile(r"t=(\d{1,12}),v1=[0-9a-f]{64}(?:,v\d=[0-9a-f]{64})*")
"""The whole header, as Stripe writes it."""
_MAX_SIGNATURE_LENGTH = 4096
"""Stripe's are below 200 characters, and are compared with each secret."""

HOLD_METADATA_KEY = "inventory_reservation_id"
SHOP_METADATA_KEY = "shop_id"
PAGE_METADATA_KEY = "holdfast_page"
"""The metadata of a payment that name its hold."""
RESERVED_METADATA = frozenset({HOLD_METADATA_KEY, SHOP_METADATA_KEY, PAGE_METADATA_KEY})
REFERENCE_METADATA_KEY = "inventory_reference"
"""The order's reference, for people who look at the payment."""

_ID = re.compile(r"[\x21-\x7e]{1,255}")
"""The ids that are accepted: Postgres stores no NUL, and Temporal limits the length of workflow ids."""

_CURRENCY = re.compile(r"[a-z]{3}")

EventKind = Literal["succeeded", "authorized", "processing", "failed", "ended", "record", "refund_failed", "ignored"]
"""What an event says of a payment. `record`: it is logged and changes nothing."""

_LONGEST_WORD = 100
_MOST = 2**53


@dataclass(frozen=True, slots=True)
class EventDetails:
    """What an event says of a refund, a dispute, or a payment that was made in part."""

    amount: int | None = None
    """In the currency's smallest unit."""
    currency: str | None = None
    status: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class StripeEvent:
    """One webhook event."""

    event_id: str
    type: str
    """Stripe's type, for example `payment_intent.succeeded`."""
    kind: EventKind
    hold: HoldKey | None = None
    """The hold that the metadata name."""
    session_id: str | None = None
    intent_id: str | None = None
    object_id: str | None = None
    """The id of the object that the event is about."""
    livemode: bool = False
    """Whether it is about real money; otherwise it comes from Stripe's test mode."""
    amount_total: int | None = None
    """What the payment costs, in the currency's smallest unit, if the event says so."""
    currency: str | None = None
    account: str | None = None
    """The connected account whose event it is; None for the account of the endpoint itself."""
    details: EventDetails | None = None
    """What is kept in the order's story; None where the event only moves the hold."""
    created: datetime | None = None

    @property
    def payment(self) -> Payment:
        """The payment that it is about."""
        return Payment(
            self.intent_id,
            self.session_id,
            needs_capture=self.kind == "authorized",
            amount_total=self.amount_total,
            currency=self.currency,
        )


def verify_signature(body: bytes, header: str | None, secrets: Iterable[str]) -> str:
    """Return the secret that signed the body within 300 s of now. Raises InvalidSignatureError if none of them did.

    `header` is the value of `Stripe-Signature`.
    """
    header = header or ""
    if not header.isascii():
        raise InvalidSignatureError("the header is not ASCII")
    if len(header) > _MAX_SIGNATURE_LENGTH:
        raise InvalidSignatureError(f"the header is longer than {_MAX_SIGNATURE_LENGTH} characters")
    reason = "no secret is set"
    for secret in secrets:
        try:
            stripe.WebhookSignature.verify_header(body.decode(), header, secret, TOLERANCE_SECONDS)
        except (stripe.SignatureVerificationError, UnicodeDecodeError) as error:
            reason = str(error)
        else:
            # Stripe's library refuses old times only: a signature from the future could be sent again until then.
            if _signed_at(header) > time.time() + TOLERANCE_SECONDS:
                raise InvalidSignatureError("the time of the signature is in the future")
            return secret
    signed = _SIGNATURE.fullmatch(header)
    recent = signed is not None and abs(int(signed[1]) - time.time()) <= TOLERANCE_SECONDS
    raise InvalidSignatureError(reason, by_another_secret=recent)


def _signed_at(header: str) -> int:
    """Return the time of a header that Stripe's library has accepted, read as the library does."""
    pairs = [part.split("=", 2) for part in header.split(",")]
    return int(next(pair[1] for pair in pairs if pair[0] == "t"))


def parse_event(body: bytes) -> StripeEvent:
    """Translate a snapshot event by the table in docs/integration.md. Raises InvalidEventError."""
    event = parse_json(body)
    event_id = stripe_id(event.get("id")) if isinstance(event, dict) else None
    if event_id is None or not isinstance(event.get("type"), str):
        raise InvalidEventError("the body has no event id and type")
    data = event.get("data")
    subject = data.get("object") if isinstance(data, dict) else None
    livemode = event.get("livemode") is True
    if event.get("object") != "event" or not isinstance(subject, dict):
        return StripeEvent(event_id, event["type"], "ignored", livemode=livemode)  # a thin event, or of another API
    account = event.get("account")
    intent = stripe_id(subject.get("id" if event["type"].startswith("payment_intent.") else "payment_intent"))
    amount_total, currency = _cost(event["type"], subject)
    metadata = subject["metadata"] if isinstance(subject.get("metadata"), dict) else {}
    return StripeEvent(
        event_id=event_id,
        type=event["type"],
        kind=_kind(event["type"], subject),
        hold=hold_in_metadata(metadata),
        session_id=stripe_id(subject.get("id")) if event["type"].startswith("checkout.session.") else None,
        intent_id=intent,
        object_id=stripe_id(subject.get("id")),
        livemode=livemode,
        amount_total=amount_total,
        currency=currency,
        account=None if account is None else stripe_id(account) or "invalid",
        details=_details(event["type"], subject),
        created=_time(event.get("created")),
    )


def _cost(event_type: str, subject: Mapping[str, Any]) -> tuple[int | None, str | None]:
    """Return the amount and the currency of a session or PaymentIntent; None for both if one of them is missing."""
    amount = _amount(subject.get("amount" if event_type.startswith("payment_intent.") else "amount_total"))
    currency = _word(subject.get("currency"))
    known = amount is not None and currency is not None and _CURRENCY.fullmatch(currency)
    return (amount, currency) if known else (None, None)


def parse_json(body: bytes) -> Any:  # noqa: ANN401 - JSON
    """Return the JSON value of a signed body. Raises InvalidEventError."""
    try:
        return json.loads(body.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidEventError("the body is not JSON") from error


_KINDS: dict[str, EventKind] = {
    "checkout.session.async_payment_succeeded": "succeeded",
    "checkout.session.async_payment_failed": "ended",
    "checkout.session.expired": "ended",
    "payment_intent.succeeded": "succeeded",
    "payment_intent.amount_capturable_updated": "authorized",
    "payment_intent.processing": "processing",
    "payment_intent.payment_failed": "failed",
    "payment_intent.canceled": "ended",
    "payment_intent.partially_funded": "record",
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

HANDLED_EVENT_TYPES = frozenset({*_KINDS, "checkout.session.completed"})
"""The types to subscribe to at Stripe."""


def _kind(event_type: str, subject: Mapping[str, Any]) -> EventKind:
    if event_type == "checkout.session.completed":
        # "unpaid" may be processing, authorised or an unpaid voucher: only the PaymentIntent says which.
        return "processing" if subject.get("payment_status") == "unpaid" else "succeeded"
    return _KINDS.get(event_type, "ignored")


def _details(event_type: str, subject: Mapping[str, Any]) -> EventDetails | None:
    """Return what is kept of the event. The names are Stripe's, except for `refunded` and `…_in_part`."""
    currency, amount = _word(subject.get("currency")), _amount(subject.get("amount"))
    match event_type:
        case "charge.refunded":
            status = "refunded" if subject.get("refunded") is True else "refunded_in_part"
            return EventDetails(_amount(subject.get("amount_refunded")), currency, status)
        case "payment_intent.partially_funded":
            return EventDetails(_funded(subject, amount), currency, "funded_in_part")
        case "payment_intent.succeeded":
            received = _amount(subject.get("amount_received"))
            in_part = received is not None and amount is not None and 0 < received < amount
            return EventDetails(received, currency, "captured_in_part") if in_part else None
        case _ if event_type.startswith(("refund.", "charge.dispute.")):
            reason = _word(subject.get("failure_reason")) or _word(subject.get("reason"))
            return EventDetails(amount, currency, _word(subject.get("status")), reason)
        case _:
            return None


def _funded(intent: Mapping[str, Any], amount: int | None) -> int | None:
    """Return how much of a bank transfer has arrived."""
    action = intent.get("next_action")
    instructions = action.get("display_bank_transfer_instructions") if isinstance(action, dict) else None
    left = _amount(instructions.get("amount_remaining")) if isinstance(instructions, dict) else None
    return None if amount is None or left is None else max(0, amount - left)


def _amount(value: object) -> int | None:
    is_amount = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST
    return value if is_amount and isinstance(value, int) else None


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and value.isprintable() and 0 < len(value) <= _LONGEST_WORD else None


def _time(value: object) -> datetime | None:
    seconds = _amount(value)
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def hold_in_metadata(metadata: Mapping[str, Any]) -> HoldKey | None:
    """Return the hold that the metadata of a payment name.

    It takes both ids: a shop may have a `shop_id` of its own in its metadata, of any value, without meaning a hold.
    """
    shop_id, hold_id = metadata.get(SHOP_METADATA_KEY), metadata.get(HOLD_METADATA_KEY)
    if not (isinstance(shop_id, str) and isinstance(hold_id, str) and is_name(shop_id) and is_name(hold_id)):
        return None
    return HoldKey(shop_id, hold_id)


def stripe_id(value: object) -> str | None:
    """Return the id from a field that holds an id or the expanded object."""
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) and _ID.fullmatch(value) else None
