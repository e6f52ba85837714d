"""How a payment stands, read from Stripe's own objects: whether it can be made, is under way, or is made."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """What can still become of a payment."""

    OPEN = "open"
    """The shopper can still pay."""
    PROCESSING = "processing"
    """The shopper has done their part; the money may come or not, and nobody can stop it."""
    AUTHORIZED = "authorized"
    """The money is reserved and waits for its capture."""
    PAID = "paid"
    UNPAYABLE = "unpayable"
    """It can no longer be paid, and was not."""
    REFUNDED = "refunded"
    """It was paid, and all of it was given back."""
    UNKNOWN = "unknown"
    """Stripe has no such payment."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A payment as Stripe has it."""

    state: State
    session_id: str | None = None
    intent_id: str | None = None
    """None until the shopper confirms, and for what costs nothing."""
    method: str | None = None
    """Stripe's name of the method, where it is known."""
    expires_at: datetime | None = None
    """When the session ends by itself."""
    url: str | None = None
    """Where the shopper pays, while the session is open."""
    metadata: Mapping[str, str] | None = None
    made_by_checkout: bool = False
    """Whether a session made the PaymentIntent: only Stripe itself cancels such a one before it is authorised."""


def of_session(session: Mapping[str, Any]) -> Standing:
    """Read a Checkout Session whose `payment_intent.latest_charge` was expanded."""
    intent = session.get("payment_intent")
    standing = of_intent(intent) if isinstance(intent, Mapping) else None
    return Standing(
        state=_state_of_session(session, standing.state if standing else None),
        session_id=session["id"],
        intent_id=standing.intent_id if standing else intent if isinstance(intent, str) else None,
        method=standing.method if standing else None,
        expires_at=datetime.fromtimestamp(session["expires_at"], UTC) if session.get("expires_at") else None,
        url=session.get("url"),
        metadata=session.get("metadata") or {},
        made_by_checkout=True,
    )


def _state_of_session(session: Mapping[str, Any], intent: State | None) -> State:
    if intent in (State.PROCESSING, State.AUTHORIZED, State.PAID, State.REFUNDED):
        return intent  # also on a session that has expired: what was in flight landed
    match session.get("status"):
        case "open":
            return State.OPEN
        case "complete" if session.get("payment_status") in ("paid", "no_payment_required"):
            return State.PAID
        case "complete":
            return State.UNPAYABLE  # its PaymentIntent failed or was cancelled, and the page is closed
        case _:
            return State.OPEN if intent is State.OPEN else State.UNPAYABLE


def of_intent(intent: Mapping[str, Any]) -> Standing:
    """Read a PaymentIntent whose `latest_charge` was expanded."""
    charge = intent.get("latest_charge")
    details = (charge.get("payment_method_details") or {}) if isinstance(charge, Mapping) else {}
    types = intent.get("payment_method_types") or []
    waiting = _voucher(intent)
    return Standing(
        state=_state_of_intent(intent, charge if isinstance(charge, Mapping) else {}, waiting=waiting is not None),
        intent_id=intent["id"],
        method=waiting or details.get("type") or (types[0] if len(types) == 1 else None),
        metadata=intent.get("metadata") or {},
    )


def _state_of_intent(intent: Mapping[str, Any], charge: Mapping[str, Any], *, waiting: bool) -> State:
    match intent.get("status"):
        case "succeeded":
            return State.REFUNDED if charge.get("refunded") else State.PAID
        case "requires_capture":
            return State.AUTHORIZED
        case "processing":
            return State.PROCESSING
        case "canceled":
            return State.UNPAYABLE
        case "requires_action" if waiting:
            return State.PROCESSING
        case _:
            return State.OPEN


def _voucher(intent: Mapping[str, Any]) -> str | None:
    """Return the method of a voucher that waits to be paid in a shop or at a bank."""
    kind = (intent.get("next_action") or {}).get("type") or ""
    if kind == "display_bank_transfer_instructions":
        return "customer_balance"
    return kind.removesuffix("_display_details") if kind.endswith("_display_details") else None
