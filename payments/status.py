"""Derives the status of a payment from Stripe's objects."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class PaymentState(StrEnum):
    """The state of a payment. `OPEN` and `PROCESSING` can still change by themselves."""

    OPEN = "open"
    """The shopper can still pay."""
    PROCESSING = "processing"
    """The shopper has confirmed; the payment may succeed or fail, and cannot be cancelled."""
    AUTHORIZED = "authorized"
    """The money is reserved and must be captured."""
    PAID = "paid"
    UNPAYABLE = "unpayable"
    """It can no longer be paid, and was not."""
    REFUNDED = "refunded"
    """It was paid and fully refunded."""
    UNKNOWN = "unknown"
    """Stripe has no such payment."""


@dataclass(frozen=True, slots=True)
class PaymentStatus:
    """The status of a payment at Stripe."""

    state: PaymentState
    session_id: str | None = None
    intent_id: str | None = None
    """None until the shopper confirms, and where the total is 0."""
    method: str | None = None
    """Stripe's name of the payment method, if known."""
    expires_at: datetime | None = None
    """When the session expires."""
    url: str | None = None
    """The payment page, while the session is open."""
    metadata: Mapping[str, str] | None = None
    client_secret: str | None = None
    """Of an open session that is not paid on a page of Stripe's."""
    amount_total: int | None = None
    """In the currency's smallest unit."""
    currency: str | None = None
    application_fee: bool = False
    """Whether the platform takes a fee of it; known of a PaymentIntent."""
    transferred: bool = False
    """Whether its money is transferred to a connected account; known of a PaymentIntent."""
    charged_at: datetime | None = None
    """When the charge was made, if it was read."""
    closed: bool = False
    """Whether the call that returns this has closed it: Stripe sends an event for it."""


def status_of_session(session: Mapping[str, Any]) -> PaymentStatus:
    """Read a Checkout Session whose `payment_intent.latest_charge` was expanded."""
    intent = session.get("payment_intent")
    status = status_of_intent(intent) if isinstance(intent, Mapping) else None
    return PaymentStatus(
        state=_state_of_session(session, status.state if status else None),
        session_id=session["id"],
        intent_id=status.intent_id if status else intent if isinstance(intent, str) else None,
        method=status.method if status else None,
        expires_at=datetime.fromtimestamp(session["expires_at"], UTC) if session.get("expires_at") else None,
        url=session.get("url"),
        metadata=session.get("metadata") or {},
        client_secret=session.get("client_secret"),
        amount_total=session.get("amount_total"),
        currency=session.get("currency"),
    )


def _state_of_session(session: Mapping[str, Any], intent: PaymentState | None) -> PaymentState:
    if intent in (PaymentState.PROCESSING, PaymentState.AUTHORIZED, PaymentState.PAID, PaymentState.REFUNDED):
        return intent  # also if the session has expired: a payment in flight may complete after that
    match session.get("status"):
        case "open":
            return PaymentState.OPEN
        case "complete" if session.get("payment_status") in ("paid", "no_payment_required"):
            return PaymentState.PAID
        case "complete":
            return PaymentState.UNPAYABLE  # its PaymentIntent failed or was cancelled
        case _:
            return PaymentState.OPEN if intent is PaymentState.OPEN else PaymentState.UNPAYABLE


def status_of_intent(intent: Mapping[str, Any]) -> PaymentStatus:
    """Read a PaymentIntent whose `latest_charge` was expanded."""
    charge = intent.get("latest_charge")
    details = (charge.get("payment_method_details") or {}) if isinstance(charge, Mapping) else {}
    types = intent.get("payment_method_types") or []
    awaited = _awaited_method(intent)
    return PaymentStatus(
        state=_state_of_intent(
            intent, charge if isinstance(charge, Mapping) else {}, awaits_shopper=awaited is not None
        ),
        intent_id=intent["id"],
        method=awaited or details.get("type") or (types[0] if len(types) == 1 else None),
        metadata=intent.get("metadata") or {},
        amount_total=intent.get("amount"),
        currency=intent.get("currency"),
        application_fee=bool(intent.get("application_fee_amount")),
        transferred=bool(intent.get("transfer_data")),
        charged_at=datetime.fromtimestamp(charge["created"], UTC) if isinstance(charge, Mapping) else None,
    )


def _state_of_intent(intent: Mapping[str, Any], charge: Mapping[str, Any], *, awaits_shopper: bool) -> PaymentState:
    match intent.get("status"):
        case "succeeded":
            return PaymentState.REFUNDED if charge.get("refunded") else PaymentState.PAID
        case "requires_capture":
            return PaymentState.AUTHORIZED
        case "processing":
            return PaymentState.PROCESSING
        case "canceled":
            return PaymentState.UNPAYABLE
        case "requires_action" if awaits_shopper:
            return PaymentState.PROCESSING
        case _:
            return PaymentState.OPEN


def _awaited_method(intent: Mapping[str, Any]) -> str | None:
    """Return the method of a voucher or bank transfer that the shopper has still to pay, else None."""
    kind = (intent.get("next_action") or {}).get("type") or ""
    if kind == "display_bank_transfer_instructions":
        return "customer_balance"
    return kind.removesuffix("_display_details") if kind.endswith("_display_details") else None
