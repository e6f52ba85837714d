"""What the calls take and return. Times are timezone-aware, in UTC."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal


class HoldStatus(StrEnum):
    """The state of a hold; every state but `active` is final."""

    ACTIVE = "active"
    COMMITTED = "committed"
    RELEASED = "released"
    EXPIRED = "expired"


class Mode(StrEnum):
    """Whether a create only validates the stock, or holds it."""

    VALIDATE_ONLY = "validate_only"
    RESERVE_TTL = "reserve_ttl"


@dataclass(frozen=True, slots=True)
class Item:
    """A quantity (1 or more) of an item; `variant_key` is "" for a product without variants."""

    sku: str
    quantity: int
    variant_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineResult:
    """What became of the units of an item of a hold; `restocked` are those of `sold` that were returned later."""

    sku: str
    variant_key: str
    quantity: int
    sold: int
    given_back: int
    restocked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """The price of one unit: a Stripe price id in `price`, or `name`, `unit_amount` and `currency`.

    `unit_amount` is in the currency's smallest unit, for example cents.
    """

    name: str | None = None
    unit_amount: int | None = None
    currency: str | None = None
    price: str | None = None
    description: str | None = None
    images: Sequence[str] | None = None
    tax_code: str | None = None
    tax_behavior: Literal["exclusive", "inclusive", "unspecified"] | None = None
    product_data: Mapping[str, Any] | None = None
    """Further `product_data`, by Stripe's names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraLine(Priced):
    """Something to pay for that is not held: shipping, a fee, gift wrap."""

    quantity: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutItem(Priced):
    """An item that is held and paid for."""

    sku: str
    quantity: int
    variant_key: str = ""


@dataclass(frozen=True, slots=True)
class Validated:
    """Every item of the cart is available now. With `bypassed`, validation is switched off and nothing was checked."""

    bypassed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A hold. `ending` is "release" while it is still active and its release is recorded but not finished.

    `results` tells for each item what was sold and what was given back; a Holdfast before release 0.3 does not tell it.
    """

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
    hold_token: str | None = field(default=None, repr=False)
    """What opens this hold to the shopper's browser, and nothing else. None of an ended hold, or where it is off."""
    buyer: str | None = None
    revision: int = 0
    """How often the hold was changed."""
    closed_checkout_session_id: str | None = None
    """In the answer to a change: the page that was closed for it; the shopper needs a new one."""
    results: tuple[LineResult, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    warn_before_seconds: int | None = None
    archived_at: datetime | None = None
    amount_total: int | None = None
    """What the payment costs, in the currency's smallest unit. None without a payment."""
    currency: str | None = None
    paid_elsewhere: bool = False
    """Whether it was committed as paid elsewhere: no payment of its page bought it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldPage:
    """Holds, newest first; `cursor` is for the next page, None if this was the last."""

    holds: tuple[Hold, ...]
    cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order's holds in order of time, and its whole story as Holdfast's JSON has it, for people."""

    holds: tuple[Hold, ...]
    story: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotHeld:
    """The sale may proceed without a hold: the stock was only validated, or not even that (`bypassed`)."""

    mode: Mode | None = None
    bypassed: bool = False
    hold_id: None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutSession:
    """A Stripe checkout session, and its hold if there is one.

    `url` is None with a `client_secret`, which Stripe.js takes; if the hold is sold already; and if the shop's own
    settings (bypass, `validate_only`) kept the client from opening a session: the shop then opens one itself.
    """

    shop_id: str
    hold_id: str | None = None
    checkout_session_id: str | None = None
    url: str | None = None
    expires_at: datetime | None = None
    status: HoldStatus | None = None
    mode: Mode | None = None
    bypassed: bool = False
    hold_token: str | None = field(default=None, repr=False)
    client_secret: str | None = field(default=None, repr=False)
    amount_total: int | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """The state of one dependency of Holdfast: `ok`, `failed` or `not needed`."""

    status: str
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Holdfast works. `degraded`: it answers, but not in its regular configuration."""

    status: Literal["ok", "degraded"]
    mode: Mode
    bypassed: bool
    version: str
    checks: dict[str, Check]


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """An invalid field of a request, and what is allowed there."""

    field: str
    message: str


@dataclass(frozen=True, slots=True)
class ExceededLimit:
    """A limit that the request would pass; `sku` is None where it is the shop's and not an item's."""

    limit: str
    most: int
    has: int
    requested: int
    sku: str | None = None
    variant_key: str | None = None


@dataclass(frozen=True, slots=True)
class ShortItem:
    """An item of which less is available than requested; `requested` is the sum over all lines.

    `reason` is "insufficient", "unknown_item" (the shop has no item of this sku and variant) or "retired".
    """

    sku: str
    variant_key: str
    requested: int
    available: int
    reason: str = "insufficient"
