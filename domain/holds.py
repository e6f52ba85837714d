"""A hold, its lines, and the outcomes of reserving its stock.

The same values go from the SQL row to the workflow's messages. They are kept in workflow histories as JSON: fields are
only ever added, and only with a default.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from domain.limits import ExceededLimit
from domain.payments import Payment


class HoldStatus(StrEnum):
    """The states of a hold in the database. Only an `active` hold has stock in `held`."""

    ACTIVE = "active"
    COMMITTED = "committed"
    RELEASED = "released"
    EXPIRED = "expired"


class HoldKey(NamedTuple):
    """The primary key of a hold."""

    shop_id: str
    hold_id: str


@dataclass(frozen=True, slots=True)
class Line:
    """One item and a number of units of it. A hold has one line for an item: the sum of what was requested."""

    sku: str
    variant_key: str
    quantity: int


@dataclass(frozen=True, slots=True)
class LineResult:
    """What became of the units of one line."""

    sku: str
    variant_key: str
    quantity: int
    """The units that the hold took."""
    sold: int
    given_back: int
    restocked: int
    """The units of `sold` that were returned later."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold as the database has it. Times are in UTC."""

    hold_id: str
    shop_id: str
    status: HoldStatus
    expires_at: datetime
    created_at: datetime
    updated_at: datetime
    committed_at: datetime | None
    released_at: datetime | None
    expired_at: datetime | None
    reason: str | None
    reference: str | None
    payment_session_id: str | None
    payment_intent_id: str | None
    request_hash: str | None
    lines: tuple[Line, ...]
    browser_extensions: int = 0
    """How often the shopper's browser may extend it."""
    browser_extended: int = 0
    """How often it has."""
    buyer: str | None = None
    """The shop's opaque id of who buys."""
    revision: int = 0
    """How often the hold was amended."""
    sold: tuple[Line, ...] | None = None
    """What a partial commit sold; None: a committed hold sold all of its lines."""
    restocked: tuple[Line, ...] = ()
    """What was returned of a committed hold, where it was read."""
    metadata: dict[str, str] | None = None
    """What the caller attached to it."""
    warn_before_seconds: int | None = None
    """How long before its deadline the event `hold.expiring` is sent; None for never."""
    archived_at: datetime | None = None
    created_by: str | None = None
    ended_by: str | None = None
    """Who made the hold and who ended it, where the row was read; None for a hold of an earlier release."""
    amount_total: int | None = None
    """What its payment costs, in the currency's smallest unit; None without one."""
    currency: str | None = None
    paid_elsewhere: bool = False
    """Whether the shop committed it as paid elsewhere: no payment of its page bought it."""

    @property
    def key(self) -> HoldKey:
        """The hold's primary key."""
        return HoldKey(self.shop_id, self.hold_id)

    @property
    def payment(self) -> Payment | None:
        """The attached payment, or of a committed hold the one that bought it. None where the row names none."""
        if self.payment_intent_id is None and self.payment_session_id is None:
            return None
        return Payment(self.payment_intent_id, self.payment_session_id)

    @property
    def bought_by(self) -> Payment | None:
        """The payment that bought the committed hold. None where a part was sold, or the shop was paid elsewhere."""
        whole = self.status is HoldStatus.COMMITTED and self.sold is None and not self.paid_elsewhere
        return self.payment if whole else None

    def sold_exactly(self, items: tuple[Line, ...] | None) -> bool:
        """Return whether the committed hold sold these units and no others; None stands for all."""
        return _units(self.lines if items is None else items) == _units(self.lines if self.sold is None else self.sold)

    def results(self) -> tuple[LineResult, ...]:
        """Return what became of each line."""
        return line_results(self.status, self.lines, self.sold, self.restocked)


def _units(lines: tuple[Line, ...]) -> dict[tuple[str, str], int]:
    units: dict[tuple[str, str], int] = {}
    for line in lines:
        units[line.sku, line.variant_key] = units.get((line.sku, line.variant_key), 0) + line.quantity
    return units


def line_results(
    status: HoldStatus, lines: tuple[Line, ...], sold: tuple[Line, ...] | None, restocked: tuple[Line, ...] = ()
) -> tuple[LineResult, ...]:
    """Return what became of each line of a hold of this status. `sold` and `restocked` are as in Hold."""
    committed, active = status is HoldStatus.COMMITTED, status is HoldStatus.ACTIVE
    left, back = _units(lines if sold is None else sold), _units(restocked)
    results = list[LineResult]()
    for line in lines:
        key = (line.sku, line.variant_key)
        units = min(line.quantity, left.get(key, 0)) if committed else 0
        returned = min(units, back.get(key, 0))
        left[key], back[key] = left.get(key, 0) - units, back.get(key, 0) - returned
        results.append(LineResult(*key, line.quantity, units, 0 if active else line.quantity - units, returned))
    return tuple(results)


@dataclass(frozen=True)
class ReserveRequest:
    """The stock that a new hold is to take, and the time after which it must not be taken any more."""

    shop_id: str
    hold_id: str
    lines: tuple[Line, ...]
    created_at: datetime
    expires_at: datetime
    reserve_before: datetime
    reference: str | None
    request_hash: str | None
    browser_extensions: int = 0
    request_id: str | None = None
    """Of the request that started the run."""
    buyer: str | None = None
    replaces: str | None = None
    """The active hold with the same reference that ends in the same statement; its units go to the new hold."""
    metadata: dict[str, str] | None = None
    warn_before_seconds: int | None = None
    actor: str | None = None


@dataclass(frozen=True)
class Held:
    """The hold has a row: made by this request or before it, in any state."""

    status: HoldStatus
    created_at: datetime
    expires_at: datetime
    lines: tuple[Line, ...]
    request_hash: str | None = None
    reference: str | None = None
    payment: Payment | None = None
    """The payment that the row names, unless the hold was sold in part or paid elsewhere: no payment bought that."""
    buyer: str | None = None
    created: bool = False
    """Whether this request made the row, and not an earlier one."""
    replaced: bool = False
    """Whether it ended the hold that it was to replace, in the same statement."""
    metadata: dict[str, str] | None = None
    warn_before_seconds: int | None = None
    made_by: str | None = None
    """The id of the request that started the run, in the run's answer: callers who joined the run did not make it."""
    ends_at: datetime | None = None
    """When it ends if nothing happens: its deadline, or some seconds later where many have the same."""
    kind: Literal["held"] = "held"

    @classmethod
    def of(cls, hold: Hold) -> "Held":
        """Return the message about a hold that has a row."""
        return cls(
            status=hold.status,
            created_at=hold.created_at,
            expires_at=hold.expires_at,
            lines=hold.lines,
            request_hash=hold.request_hash,
            reference=hold.reference,
            payment=hold.payment if hold.sold is None and not hold.paid_elsewhere else None,
            buyer=hold.buyer,
        )

    @classmethod
    def new(cls, request: ReserveRequest) -> "Held":
        """Return the message about the hold that this request made."""
        return cls(
            status=HoldStatus.ACTIVE,
            created_at=request.created_at,
            expires_at=request.expires_at,
            lines=request.lines,
            request_hash=request.request_hash,
            reference=request.reference,
            buyer=request.buyer,
            metadata=request.metadata,
            warn_before_seconds=request.warn_before_seconds,
            created=True,
        )

    def as_new_hold(self, key: HoldKey) -> Hold:
        """Return the hold that was just made, as its row has it."""
        return Hold(
            hold_id=key.hold_id,
            shop_id=key.shop_id,
            status=self.status,
            expires_at=self.expires_at,
            created_at=self.created_at,
            updated_at=self.created_at,
            committed_at=None,
            released_at=None,
            expired_at=None,
            reason=None,
            reference=self.reference,
            payment_session_id=self.payment.session_id if self.payment else None,
            payment_intent_id=self.payment.payment_intent_id if self.payment else None,
            request_hash=self.request_hash,
            lines=self.lines,
            buyer=self.buyer,
            metadata=self.metadata,
            warn_before_seconds=self.warn_before_seconds,
        )


ShortageReason = Literal["unknown_item", "retired", "insufficient"]
"""`unknown_item`: the shop has no item with this SKU and variant. `retired`: no new hold can have the item."""


@dataclass(frozen=True)
class ShortItem:
    """An item of which fewer units are available than were requested, over all lines."""

    sku: str
    variant_key: str
    requested: int
    available: int
    """0 for an unknown and for a retired item."""
    known: bool = True
    """Whether the shop has such an item."""
    retired: bool = False

    @property
    def reason(self) -> ShortageReason:
        """Why the units cannot be held."""
        if not self.known:
            return "unknown_item"
        return "retired" if self.retired else "insufficient"


@dataclass(frozen=True)
class Shortage:
    """Not enough stock; nothing was taken. Names every short item once."""

    items: tuple[ShortItem, ...]
    kind: Literal["shortage"] = "shortage"


@dataclass(frozen=True)
class ReferenceTaken:
    """Another active hold has the reference; nothing was taken."""

    hold_id: str
    kind: Literal["reference_taken"] = "reference_taken"


@dataclass(frozen=True)
class Busy:
    """The rows could not be locked in time; nothing was taken."""

    kind: Literal["busy"] = "busy"


@dataclass(frozen=True)
class TooLate:
    """`reserve_before` has passed, so the caller no longer waits; nothing was taken, now or later."""

    kind: Literal["too_late"] = "too_late"


@dataclass(frozen=True)
class OverLimit:
    """The request would pass a limit; nothing was taken."""

    limits: tuple[ExceededLimit, ...]
    kind: Literal["over_limit"] = "over_limit"


ReserveOutcome = Annotated[Held | Shortage | ReferenceTaken | Busy | TooLate | OverLimit, Field(discriminator="kind")]
