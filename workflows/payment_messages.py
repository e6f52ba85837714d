"""Messages to and from workflows about a hold's payment.

Fields are only ever added, and only with a default: histories outlive code.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from domain.payments import ClaimOutcome, Payment

_LONGEST_ID = 255
_ABOVE_LARGEST = 2**63
_YEAR_SECONDS = 366 * 24 * 3600


def _named(payment: Payment) -> Payment:
    ids = [each for each in (payment.payment_intent_id, payment.session_id) if each is not None]
    if not any(ids):
        raise ValueError("payment_intent_id or session_id is required")
    if not all(each.isprintable() and len(each) <= _LONGEST_ID for each in ids):
        raise ValueError(f"an id has at most {_LONGEST_ID} printable characters")
    if not 0 <= (payment.amount_total or 0) < _ABOVE_LARGEST or not (payment.currency or "eur").isalpha():
        raise ValueError("amount_total is not an amount, or currency not a currency")
    return payment


NamedPayment = Annotated[Payment, AfterValidator(_named)]
"""A payment as a message names it: one without an id would sell the hold for nothing."""


@dataclass(frozen=True)
class PaymentFailed:
    """An attempt to pay was declined."""

    payment: NamedPayment
    event_id: str
    """Stripe's id of the event, which may arrive twice."""


@dataclass(frozen=True)
class PaymentProcessing:
    """A payment is processing that takes longer than a hold lives (a bank debit, a voucher)."""

    payment: NamedPayment
    grace_seconds: Annotated[int, Field(ge=0, le=_YEAR_SECONDS)] | None = None
    """How long the stock waits for it, in seconds from the first such message. None: read its status from Stripe."""


@dataclass(frozen=True)
class OpenCheckout:
    """A Checkout Session to open for a hold."""

    shop_id: str
    hold_id: str
    params: dict[str, Any]
    expires_at: datetime
    """When the session expires if nothing closes it: later than the hold can."""
    begun_at: datetime
    attempt: str | None = None
    """Distinguishes a later page of the hold from the first one."""
    parameters_id: str | None = None
    """As in Checkout."""
    account: str | None = None
    """As in Checkout."""


@dataclass(frozen=True)
class CheckoutOpened:
    """The session on which the shopper pays."""

    session_id: str
    url: str | None
    client_secret: str | None = None
    """Of an embedded page, which has no URL."""
    amount_total: int | None = None
    currency: str | None = None
    kind: Literal["opened"] = "opened"
    account: str | None = None
    """Where it was opened, as in Checkout."""


@dataclass(frozen=True)
class CheckoutRefused:
    """Stripe refuses to open the session, and will refuse again."""

    message: str
    code: str | None = None
    param: str | None = None
    callers_fault: bool = False
    """Whether the request is at fault; else the shop's Stripe account or key is."""
    kind: Literal["refused"] = "refused"


CheckoutOutcome = Annotated[CheckoutOpened | CheckoutRefused, Field(discriminator="kind")]


PaymentState = Literal["open", "processing", "authorized", "paid", "unpayable", "refunded", "unknown"]


@dataclass(frozen=True)
class PaymentQuery:
    """A hold's payment to check, or to close."""

    shop_id: str
    hold_id: str
    payment: Payment
    give_back: bool = False
    """Closing only: whether an authorised payment is cancelled too, since the hold was cancelled."""
    find_session: bool = False
    """Checking only: whether to find the session of a payment that is named by its PaymentIntent."""
    account: str | None = None
    """The account that has it, as in Checkout, where that is known: a worker that does not know the account for the
    shop does not ask another one, which would have no such payment."""


@dataclass(frozen=True)
class PaymentCheck:
    """The status of a payment at Stripe."""

    state: PaymentState
    payment: Payment
    grace_seconds: int
    """How long a payment by its method may be processing, in seconds."""
    expires_at: datetime | None = None
    of_another_hold: bool = False
    """Whether its metadata names another hold."""
    is_page: bool = False
    """Whether Holdfast opened it for this hold, by its metadata."""


@dataclass(frozen=True)
class PaymentTrouble:
    """A problem with a hold's payment that needs attention."""

    shop_id: str
    hold_id: str
    payment_id: str
    problem: str


AttachRefusal = Literal[
    "already_attached", "in_progress", "unknown", "unpayable", "of_another_hold", "away", "not_configured"
]

ChangeRefusal = Literal["payment_open", "in_progress", "away", "not_configured"]
"""Why a hold's payment prevents a change. `payment_open`: a payment of the shop's own can still be made."""


def late_payment_workflow_id(payment_id: str) -> str:
    """Return the id of the workflow of a late payment: one for each payment."""
    return f"late-payment:{payment_id}"


@dataclass(frozen=True)
class LatePayment:
    """A payment for a hold that it did not buy."""

    shop_id: str
    hold_id: str
    payment: Payment
    refund_failed: bool = False
    """Whether its refund failed: then a person has to refund it another way."""
    reference: str | None = None
    """The hold's reference, by which the case is found."""


@dataclass(frozen=True)
class Claimed:
    """What a late payment could buy, and whether the policy forbids a refund if it bought nothing."""

    outcome: ClaimOutcome
    keep_money: bool = False
    paid_elsewhere: bool = False
    """With `sold_in_part`: whether the shop sold the hold as paid elsewhere."""


LateOutcome = Literal[
    "reacquired", "recorded", "refunded", "already", "not_paid", "handed_over", "needs_person", "closed_by_person"
]


@dataclass(frozen=True)
class LatePaymentReport:
    """The outcome of a late payment, for the log and the counter."""

    late: LatePayment
    outcome: LateOutcome
    detail: str = ""


@dataclass(frozen=True)
class LatePaymentEnded:
    """The result of a late payment's workflow."""

    outcome: LateOutcome
    detail: str = ""


@dataclass(frozen=True)
class CloseCase:
    """A person has resolved a late payment by hand."""

    actor: str
    note: str = ""
