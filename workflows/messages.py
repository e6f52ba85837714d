"""What goes in and out of a hold's workflow; what is about its payment, see `payment_messages`.

Fields are only ever added, and only with a default: histories outlive code.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field
from temporalio.common import SearchAttributeKey

from workflows.payment_messages import AttachRefusal, CheckoutOutcome, Payment

SettledStatus = Literal["committed", "released", "expired"]
EndStatus = Literal[SettledStatus, "missing", "rejected"]
"""How a run ended: as the database has the hold, `missing` where its row is gone, `rejected` where none was made."""

SHOP_ID = SearchAttributeKey.for_keyword("ShopId")
HOLD_STATUS = SearchAttributeKey.for_keyword("HoldStatus")
HOLD_EXPIRES_AT = SearchAttributeKey.for_datetime("HoldExpiresAt")
HOLD_REFERENCE = SearchAttributeKey.for_keyword("HoldReference")

HOLD_NOT_ACTIVE = "hold_not_active"
HOLD_EXTEND_LIMIT = "hold_extend_limit"
IDEMPOTENCY_CONFLICT = "idempotency_conflict"
"""Types of the errors with which the extend update is refused; the API answers with the same codes."""


def hold_workflow_id(shop_id: str, hold_id: str) -> str:
    """Return the id of the workflow of a hold. Shop and hold ids have no colon, so no two holds share one."""
    return f"hold:{shop_id}:{hold_id}"


@dataclass(frozen=True)
class Line:
    """One item of a hold and how many units of it."""

    sku: str
    variant_key: str
    quantity: int


@dataclass(frozen=True)
class HoldInput:
    """A hold to make, or one to go on with whose run was lost."""

    shop_id: str
    hold_id: str
    lines: list[Line]
    ttl_seconds: int
    max_ttl_seconds: int
    """The ceiling of the hold's whole life, extensions included."""
    request_timeout_ms: int
    """How long after the start the caller still waits; later the reserve takes nothing."""
    request_hash: str | None = None
    reference: str | None = None
    expires_at: datetime | None = None
    """The deadline in the row of a hold to go on with, for the search attribute; the workflow goes by the row."""
    close_grace_seconds: int = 3600
    """How long after its payment can no longer be made the hold waits for Stripe to say so."""
    checkout: "Checkout | None" = None
    """The Checkout Session to open once the stock is held."""
    orphaned: bool = False
    """Whether the audit found the hold without a run: its expiry is told apart then, as `orphaned`."""
    ended_before: SettledStatus | None = None
    """How an earlier run had ended it, of which a database that was restored knows nothing: it is ended so again.

    One that had expired does so again by itself: its row's deadline has passed."""


@dataclass(frozen=True)
class Checkout:
    """A Checkout Session that a hold is to have."""

    params: dict[str, Any]
    """Stripe's own parameters, just as they will be sent; the workflow adds `expires_at`, which Stripe compares too."""


@dataclass(frozen=True)
class ReserveRequest:
    """What the reserve activity is to take, and until when it may."""

    shop_id: str
    hold_id: str
    lines: list[Line]
    created_at: datetime
    expires_at: datetime
    reserve_before: datetime
    reference: str | None
    request_hash: str | None


@dataclass(frozen=True)
class ShortItem:
    """An item of which less is available than was asked for."""

    sku: str
    variant_key: str
    requested: int
    available: int
    known: bool = True


@dataclass(frozen=True)
class Held:
    """The hold has a row: made now or before, and in whatever state."""

    status: Literal["active", SettledStatus]
    created_at: datetime
    expires_at: datetime
    lines: list[Line]
    request_hash: str | None = None
    reference: str | None = None
    payment: Payment | None = None
    """What the row names as the hold's payment: attached to it, or the one that bought it."""
    kind: Literal["held"] = "held"


@dataclass(frozen=True)
class Shortage:
    """Not enough stock; every short item once."""

    items: list[ShortItem]
    kind: Literal["shortage"] = "shortage"


@dataclass(frozen=True)
class ReferenceTaken:
    """Another active hold has the reference."""

    hold_id: str
    kind: Literal["reference_taken"] = "reference_taken"


@dataclass(frozen=True)
class Busy:
    """The rows could not be locked in time."""

    kind: Literal["busy"] = "busy"


@dataclass(frozen=True)
class TooLate:
    """The caller had gone before stock could be taken."""

    kind: Literal["too_late"] = "too_late"


Reservation = Annotated[Held | Shortage | ReferenceTaken | Busy | TooLate, Field(discriminator="kind")]


@dataclass(frozen=True)
class DeadlineRequest:
    """A deadline to write to an active hold's row."""

    shop_id: str
    hold_id: str
    expires_at: datetime


@dataclass(frozen=True)
class SettleRequest:
    """How a hold is to end."""

    shop_id: str
    hold_id: str
    to: SettledStatus
    reason: str
    actor: str
    payment: Payment | None = None


@dataclass(frozen=True)
class EndedHold:
    """The row of a hold that has ended, as its settle left it: who is told of the end need not read it again."""

    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    ended_at: datetime
    lines: list[Line]
    reason: str | None = None
    reference: str | None = None
    payment_session_id: str | None = None
    payment_intent_id: str | None = None
    request_hash: str | None = None

    @property
    def payment(self) -> Payment:
        """What the row names as the hold's payment: where it is sold, the one that bought it, if any did."""
        return Payment(self.payment_intent_id, self.payment_session_id)


@dataclass(frozen=True)
class Ended:
    """How the hold ended."""

    status: EndStatus
    hold: EndedHold | None = None
    """In the answer to an update; not where the hold had ended before this run."""


@dataclass(frozen=True)
class Settled:
    """How the database has the hold after its settle."""

    status: EndStatus
    hold: EndedHold | None = None


@dataclass(frozen=True)
class Cancel:
    """The hold is to be given back."""

    actor: str
    reason: str = "cancelled"
    payment: Payment | None = None
    """The payment whose end this reports; it counts only if the hold has no payment, or this one."""


@dataclass(frozen=True)
class Commit:
    """The hold is sold."""

    actor: str
    reason: str = "committed"


@dataclass(frozen=True)
class Extend:
    """The shopper needs longer."""

    ttl_seconds: int
    key: str | None = None
    """The caller's idempotency key."""


@dataclass(frozen=True)
class Extended:
    """The deadline as written, or how the hold ended instead."""

    expires_at: datetime
    ended: EndStatus | None = None


@dataclass(frozen=True)
class Attach:
    """The shop opened a payment of its own for the hold: the id of its session, or of its PaymentIntent."""

    payment: Payment


@dataclass(frozen=True)
class Attached:
    """What became of an attach: done, refused and why, or the hold ended first."""

    refused: AttachRefusal | None = None
    ended: EndStatus | None = None


@dataclass(frozen=True)
class CheckoutAnswer:
    """What the caller of a checkout hears: the reservation, and what came of the session if the stock is held."""

    reservation: Reservation
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
    """What the workflow knows and waits for; for people and tools that look into one hold."""

    hold_id: str
    shop_id: str
    status: str
    expires_at: datetime
    ending: str | None
    payments: list[str] = field(default_factory=list)
    failed_attempts: int = 0
    attached: Payment | None = None
