"""Messages to and from a hold's workflow. Those about its payment are in `payment_messages`.

Fields are only ever added, and only with a default: histories outlive code.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import StringConstraints
from temporalio.common import SearchAttributeKey

from domain.amendments import AmendOutcome
from domain.holds import HoldStatus, Line, ReserveOutcome
from domain.payments import Payment
from workflows.ended_hold import EndedHold
from workflows.payment_messages import AttachRefusal, ChangeRefusal, CheckoutOutcome, NamedPayment

SettledStatus = Literal["committed", "released", "expired"]
EndStatus = Literal[SettledStatus, "missing", "rejected"]
"""How a run ended: as the database has the hold, `missing` where its row is gone, `rejected` where none was made."""


def settled_status(status: HoldStatus) -> SettledStatus:
    """Return the status of a hold that has ended. Raises ValueError for an active one."""
    match status:
        case HoldStatus.COMMITTED:
            return "committed"
        case HoldStatus.RELEASED:
            return "released"
        case HoldStatus.EXPIRED:
            return "expired"
        case HoldStatus.ACTIVE:
            raise ValueError("the hold is active")


Storable = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
"""A text that Postgres can store: with another, the hold could never be ended."""

SHOP_ID = SearchAttributeKey.for_keyword("ShopId")
HOLD_STATUS = SearchAttributeKey.for_keyword("HoldStatus")
HOLD_EXPIRES_AT = SearchAttributeKey.for_datetime("HoldExpiresAt")
HOLD_REFERENCE = SearchAttributeKey.for_keyword("HoldReference")
SEARCH_ATTRIBUTES = {
    key.name: key.indexed_value_type.name.title().replace("_", "")
    for key in (SHOP_ID, HOLD_STATUS, HOLD_EXPIRES_AT, HOLD_REFERENCE)
}
"""The types by name, as Temporal's command line writes them: a namespace must have all of them."""
SKU = SearchAttributeKey.for_keyword_list("Sku")
SKU_ATTRIBUTE = {SKU.name: "KeywordList"}
"""Only needed where holds are found by their items (HOLDFAST_SEARCH_BY_SKU)."""

HOLD_NOT_ACTIVE = "hold_not_active"
HOLD_EXTEND_LIMIT = "hold_extend_limit"
IDEMPOTENCY_CONFLICT = "idempotency_conflict"
"""Types of the errors with which the extend update is refused; the API answers with the same codes."""
MESSAGE_KNOWN = "message_known"
"""The type of the error with which an update is refused that changes nothing, since the run has its message."""
PAYMENT_IN_PROGRESS = "payment_in_progress"
"""The type of the error with which the release update is refused, if it asks for that."""
PAYMENT_NOT_MADE = "payment_not_made"
"""The type of the error with which the commit update is refused where it has to be known first that it is paid."""


def hold_workflow_id(shop_id: str, hold_id: str) -> str:
    """Return the id of the workflow of a hold. Shop and hold ids have no colon, so no two holds share one."""
    return f"hold:{shop_id}:{hold_id}"


@dataclass(frozen=True)
class HoldInput:
    """A hold to make, or one to resume whose workflow is missing."""

    shop_id: str
    hold_id: str
    lines: tuple[Line, ...]
    ttl_seconds: int
    max_ttl_seconds: int
    """The ceiling of the hold's whole life, extensions included."""
    request_timeout_ms: int
    """How long after the start the caller still waits; later the reserve takes nothing."""
    request_hash: str | None = None
    reference: str | None = None
    expires_at: datetime | None = None
    """The deadline in the row of a hold to resume, for the search attribute; the workflow uses the row's."""
    close_grace_seconds: int = 3600
    """How long after the session's expiry the hold waits for Stripe to confirm that it cannot be paid."""
    checkout: "Checkout | None" = None
    """The Checkout Session to open once the stock is held."""
    orphaned: bool = False
    """Whether the audit found the hold without a workflow: it then expires with the reason `orphaned`."""
    ended_before: SettledStatus | None = None
    """How an earlier run ended it, where a restored database does not know that: it is ended so again.

    An expired hold expires again by itself, since its row's deadline has passed."""
    sold_before: tuple[Line, ...] | None = None
    """With `ended_before`: what that run sold of the hold, if it was not all."""
    paid_elsewhere_before: bool = False
    """With `ended_before`: whether it was sold as paid elsewhere."""
    detached_before: tuple[Payment, ...] = ()
    """The pages of a hold to resume that were closed for changes: a payment on one buys nothing."""
    request_id: str | None = None
    """Of the request that starts the run: its caller made the hold, the others joined."""
    actor: str | None = None
    """Who makes the hold."""
    search_by_sku: bool = False
    """Whether its SKUs are a search attribute."""
    metadata: dict[str, str] | None = None
    """What the caller attached to the hold."""
    warn_before_seconds: int | None = None
    """How long before the deadline the event `hold.expiring` is sent, once; None for never."""
    continued: "Continued | None" = None
    """What the earlier run knew, which this one continues."""
    browser_extensions: int = 0
    """How often the shopper's browser may extend the hold; the row keeps it."""
    browser_extended: int = 0
    """How often it has done so in runs that are lost, by the row of a hold to resume."""
    buyer: str | None = None
    replaces: str | None = None
    """The active hold with the same reference whose units this one takes over; its workflow is told that it ended."""
    attached: Payment | None = None
    """Of a hold to resume: the payment that its row names."""


@dataclass(frozen=True)
class Checkout:
    """A Checkout Session to open for a hold."""

    params: dict[str, Any]
    """Stripe's parameters as they will be sent; the workflow adds `expires_at`, which Stripe compares too."""
    parameters_id: str | None = None
    """Of the encrypted parameters in the database, where they may have personal data; `params` is then empty."""
    account: str | None = None
    """The Stripe account in which the API wants it opened (`ShopAccount.present`): a worker that does not know it for
    the shop refuses."""


@dataclass(frozen=True)
class Continued:
    """What a run knew that the hold's row does not have."""

    attached: Payment | None
    closed: bool
    failed: tuple[str, ...]
    extensions: "tuple[tuple[Extend, datetime], ...]"
    """Each request, and the deadline that it led to."""
    checkout: CheckoutOutcome | None
    session_expires_at: datetime | None
    page: Payment | None = None
    page_closed: bool = False
    """Whether the page was closed for a change of the hold and none was opened since."""
    pages_of_changes: "tuple[tuple[Amend, AmendAnswer], ...]" = ()
    """The changes that opened a page. The database remembers the others."""
    detached: tuple[Payment, ...] = ()
    """The payments that were closed so that the hold could change."""


@dataclass(frozen=True)
class DeadlineRequest:
    """A deadline to write to an active hold's row."""

    shop_id: str
    hold_id: str
    expires_at: datetime
    moves_back_from: datetime | None = None
    """Set where the deadline moves back: only from this one, because a statement may arrive late."""
    browser_extended: int = 0
    """How often the shopper's browser has extended the hold so far."""


@dataclass(frozen=True)
class ExpiryWarning:
    """A hold whose deadline is near."""

    shop_id: str
    hold_id: str


@dataclass(frozen=True)
class SettleRequest:
    """How a hold is to end."""

    shop_id: str
    hold_id: str
    to: SettledStatus
    reason: str
    actor: str
    payment: Payment | None = None
    sold: tuple[Line, ...] | None = None
    """Of a commit: the units to sell, the others are given back; None for all."""
    paid_elsewhere: bool = False


@dataclass(frozen=True)
class Ended:
    """How the hold ended."""

    status: EndStatus
    hold: EndedHold | None = None
    """In the answer to an update; not where the hold had ended before this run."""
    request_id: str | None = None
    """Of the request that the update was sent with; every caller who joined it gets this answer too."""
    sold: tuple[Line, ...] | None = None
    """In the result of a run whose hold was sold in part: what was sold."""
    paid_elsewhere: bool = False
    """In the result of a run: whether the hold was sold as paid elsewhere."""


@dataclass(frozen=True)
class Settled:
    """The hold's status in the database after its settle."""

    status: EndStatus
    hold: EndedHold | None = None


@dataclass(frozen=True)
class Cancel:
    """A request to release the hold."""

    actor: Storable
    reason: Storable = "cancelled"
    payment: NamedPayment | None = None
    """The payment whose end this reports; it counts only if it is the page that Holdfast opened for the hold."""
    request_id: str | None = None
    unless_in_progress: bool = False
    """Of the release update: whether it is refused, instead of waiting for days, while a payment is in progress."""


@dataclass(frozen=True)
class Commit:
    """A request to commit the hold."""

    actor: Storable
    reason: Storable = "committed"
    request_id: str | None = None
    items: tuple[Line, ...] | None = None
    """The units to sell; the others are given back. None for all."""
    paid_elsewhere: bool = False
    """Whether the shop was paid in another way: the attached payment is closed."""
    payment: NamedPayment | None = None
    """The attached payment, if Stripe says that it is made."""
    asks: bool = False
    """Whether the sender asks Stripe if this is refused because of the attached payment; earlier releases do not."""

    @property
    def of_payment(self) -> bool:
        """Whether a payment that arrives with it bought the hold: not where a part is sold or it is paid elsewhere."""
        return self.items is None and not self.paid_elsewhere


@dataclass(frozen=True)
class Extend:
    """A request to move the deadline."""

    ttl_seconds: int
    key: str | None = None
    """The caller's idempotency key."""
    browser_limit: int | None = None
    """Of a request by the shopper's browser: how many of those the hold allows."""
    actor: Storable | None = field(default=None, compare=False)
    """Who asks; a repeat by somebody else is the same request."""


@dataclass(frozen=True)
class Extended:
    """The deadline as written, or how the hold ended instead."""

    expires_at: datetime
    ended: EndStatus | None = None


@dataclass(frozen=True)
class Amend:
    """A request to change the hold, to open a page to pay on, or both in one step. What is None stays as it is."""

    request_id: str
    """The caller's idempotency key determines it: a change is made once."""
    request_hash: str
    actor: Storable
    lines: tuple[Line, ...] | None = None
    """The whole new set."""
    reference: Storable | None = None
    buyer: Storable | None = None
    ttl_seconds: int | None = None
    """How long the hold lives from now on at least; never beyond the ceiling of its life."""
    checkout: Checkout | None = None
    """The Checkout Session to open, in the place of an earlier one."""
    call_id: str | None = None
    """Of this call, not of its repeats."""


@dataclass(frozen=True)
class AmendAnswer:
    """What became of a change: the outcome of the statement, why the payment prevents it, or how the hold ended."""

    outcome: AmendOutcome | None = None
    """None where only a page was opened."""
    refused: ChangeRefusal | None = None
    ended: EndStatus | None = None
    closed_session: str | None = None
    """The page that was closed for the change: if none was opened since, the shopper needs a new one."""
    checkout: CheckoutOutcome | None = None
    call_id: str | None = None
    """Of the call that made the change."""


@dataclass(frozen=True)
class MakeWay:
    """A request to close the hold's payment, so that another hold can take over its units."""

    request_id: str
    actor: Storable | None = None
    """Who asks for the other hold."""


@dataclass(frozen=True)
class MadeWay:
    """Nobody can pay for the hold any more, unless refused; its units stay held. Or how it ended."""

    refused: ChangeRefusal | None = None
    ended: EndStatus | None = None


@dataclass(frozen=True)
class Attach:
    """The shop opened a payment of its own for the hold: the id of its session, or of its PaymentIntent."""

    payment: NamedPayment
    replace: bool = False
    """Whether to close the hold's earlier payment first."""
    actor: Storable | None = field(default=None, compare=False)
    """Who asks; a repeat by somebody else is the same request."""


@dataclass(frozen=True)
class Attached:
    """The result of an attach: attached, refused with the reason, or the hold ended first."""

    refused: AttachRefusal | None = None
    ended: EndStatus | None = None


@dataclass(frozen=True)
class CheckoutAnswer:
    """The answer to a checkout: the outcome of the reserve, and of the session if the stock is held."""

    reservation: ReserveOutcome
    checkout: CheckoutOutcome | None = None
    ended: EndStatus | None = None


@dataclass(frozen=True)
class AttachRequest:
    """A payment to write to an active hold's row."""

    shop_id: str
    hold_id: str
    payment: Payment


@dataclass(frozen=True)
class Snapshot:
    """What the workflow knows and waits for, for people and tools that inspect one hold."""

    hold_id: str
    shop_id: str
    status: str
    expires_at: datetime
    ending: str | None
    payments: list[str] = field(default_factory=list)
    failed_attempts: int = 0
    attached: Payment | None = None
