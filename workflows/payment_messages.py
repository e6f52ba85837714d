"""What goes in and out of the workflows that is about a hold's payment.

Fields are only ever added, and only with a default: histories outlive code.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from domain.payments import ClaimOutcome, Payment


@dataclass(frozen=True)
class PaymentFailed:
    """An attempt to pay was declined."""

    payment: Payment
    event_id: str
    """Stripe's id of the event, which may come twice."""


@dataclass(frozen=True)
class PaymentProcessing:
    """A payment is under way that takes longer than a hold lives (a bank debit, a voucher)."""

    payment: Payment
    grace_seconds: int | None = None
    """How long the stock waits for it, from the first such message, in seconds. None: Stripe is asked how it stands."""


@dataclass(frozen=True)
class OpenCheckout:
    """A Checkout Session to open for a hold."""

    shop_id: str
    hold_id: str
    params: dict[str, Any]
    expires_at: datetime
    """When the session ends if nobody closes it: later than the hold can."""
    begun_at: datetime


@dataclass(frozen=True)
class CheckoutOpened:
    """The session on which the shopper pays."""

    session_id: str
    url: str | None
    kind: Literal["opened"] = "opened"


@dataclass(frozen=True)
class CheckoutRefused:
    """Stripe will not open the session, however often it is asked."""

    message: str
    code: str | None = None
    param: str | None = None
    callers_fault: bool = False
    """Whether it is about what the caller asked for; else it is about the shop's Stripe account or key."""
    kind: Literal["refused"] = "refused"


CheckoutOutcome = Annotated[CheckoutOpened | CheckoutRefused, Field(discriminator="kind")]


PaymentState = Literal["open", "processing", "authorized", "paid", "unpayable", "refunded", "unknown"]


@dataclass(frozen=True)
class PaymentQuery:
    """A hold's payment to look at, or to close."""

    shop_id: str
    hold_id: str
    payment: Payment
    give_back: bool = False
    """Closing only: whether a payment that is authorised is cancelled too, because nobody wants the hold any more."""


@dataclass(frozen=True)
class PaymentCheck:
    """How a payment stands at Stripe."""

    state: PaymentState
    payment: Payment
    grace_seconds: int
    """How long a payment by its method may be under way, in seconds."""
    expires_at: datetime | None = None
    of_another_hold: bool = False
    """Whether its metadata name another hold."""


@dataclass(frozen=True)
class PaymentTrouble:
    """What operations have to hear of a hold's payment."""

    shop_id: str
    hold_id: str
    payment_id: str
    problem: str


AttachRefusal = Literal["already_attached", "unknown", "unpayable", "of_another_hold", "away", "not_configured"]


def late_payment_workflow_id(payment_id: str) -> str:
    """Return the id of the workflow that looks after a payment which came too late: one for each payment."""
    return f"late-payment:{payment_id}"


@dataclass(frozen=True)
class LatePayment:
    """A payment that came for a hold which it did not buy."""

    shop_id: str
    hold_id: str
    payment: Payment
    refund_failed: bool = False
    """Whether it was given back already and the money came back: then a person has to find another way."""


@dataclass(frozen=True)
class Claimed:
    """What a late payment met in the database, and whether the money may be given back where it bought nothing."""

    outcome: ClaimOutcome
    keep_money: bool = False


LateOutcome = Literal[
    "reacquired", "recorded", "refunded", "already", "not_paid", "handed_over", "needs_person", "closed_by_person"
]


@dataclass(frozen=True)
class LatePaymentReport:
    """What became of a late payment, for the log and the counter."""

    late: LatePayment
    outcome: LateOutcome
    detail: str = ""


@dataclass(frozen=True)
class LatePaymentEnded:
    """How a late payment was settled."""

    outcome: LateOutcome
    detail: str = ""


@dataclass(frozen=True)
class CloseCase:
    """A person has settled a late payment by hand."""

    actor: str
    note: str = ""
