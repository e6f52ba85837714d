"""What a shop asks with and what it is told. Times are aware, in UTC."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal


class HoldStatus(StrEnum):
    """How a hold is."""

    ACTIVE = "active"
    COMMITTED = "committed"
    RELEASED = "released"
    EXPIRED = "expired"


class Mode(StrEnum):
    """What a new request does: look at the stock, or hold it."""

    VALIDATE_ONLY = "validate_only"
    RESERVE_TTL = "reserve_ttl"


@dataclass(frozen=True, slots=True)
class Item:
    """An item and how many of it; `variant_key` is '' for a plain product."""

    sku: str
    quantity: int
    variant_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutItem:
    """An item, and what the shopper pays for one: a `price` of Stripe's, or `name`, `unit_amount` and `currency`.

    `unit_amount` is in the currency's smallest unit.
    """

    sku: str
    quantity: int
    variant_key: str = ""
    name: str | None = None
    unit_amount: int | None = None
    currency: str | None = None
    price: str | None = None


@dataclass(frozen=True, slots=True)
class Validated:
    """The cart can be bought now. `bypassed`: nobody looked, the bypass is in force."""

    bypassed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A hold as Holdfast has it. `ending`: it is still active, and its release under way and certain to come."""

    hold_id: str
    shop_id: str
    status: HoldStatus
    expires_at: datetime
    created_at: datetime
    items: tuple[Item, ...]
    reference: str | None = None
    committed_at: datetime | None = None
    released_at: datetime | None = None
    expired_at: datetime | None = None
    reason: str | None = None
    checkout_session_id: str | None = None
    payment_intent_id: str | None = None
    ending: Literal["release"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotHeld:
    """The sale may go on without a hold: the stock was looked at (`validate_only`), or nobody looked (`bypassed`)."""

    mode: Mode | None = None
    bypassed: bool = False
    hold_id: None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutSession:
    """A page to pay on, and the hold behind it, where there is one.

    `url` is None once the hold is sold, and where the shop's own settings kept the client from asking (bypass,
    `validate_only`): open a page of your own then.
    """

    shop_id: str
    hold_id: str | None = None
    checkout_session_id: str | None = None
    url: str | None = None
    expires_at: datetime | None = None
    status: HoldStatus | None = None
    mode: Mode | None = None
    bypassed: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """How one thing that Holdfast needs is: `ok`, `failed` or `not needed`."""

    status: str
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Holdfast can do its work. `degraded`: it answers, but not as it should run."""

    status: Literal["ok", "degraded"]
    mode: Mode
    bypassed: bool
    version: str
    checks: dict[str, Check]
