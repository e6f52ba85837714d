"""The bodies and queries of requests, with every limit on their fields."""

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from core.json_model import Model
from core.settings import MIN_TTL_SECONDS
from domain.fields import (
    MAX_UNITS,
    Buyer,
    Identifier,
    Matching,
    OnHand,
    Printable,
    ProductName,
    Reason,
    ShopId,
    Sku,
    VariantKey,
)
from domain.holds import Line
from domain.names import NAME_PATTERN

MAX_LINES = 100
MAX_ITEMS = 500
_MAX_ATTRIBUTES = 50

HoldId = Annotated[str, Field(pattern=f"^{NAME_PATTERN}$", examples=["h_5f2c9a"])]
Reference = Annotated[
    Identifier,
    Field(description="The order or cart. A shop has at most one active hold with it.", examples=["order-1001"]),
]
Quantity = Annotated[int, Field(strict=True, ge=1, le=MAX_UNITS, examples=[1])]
Ttl = Annotated[
    int,
    Field(
        strict=True,
        ge=MIN_TTL_SECONDS,
        le=86_400,
        description="Seconds; at most INVENTORY_HOLD_MAX_TTL_SECONDS (3600 unless set).",
        examples=[1200],
    ),
]
Replace = Annotated[
    bool, Field(strict=True, description="Take over the units of the active hold with this reference, which ends.")
]
BrowserExtensions = Annotated[
    int,
    Field(
        strict=True, ge=0, le=20, description="How often the shopper's browser may extend the hold with `holdToken`."
    ),
]
Cursor = Annotated[
    str, StringConstraints(max_length=3000), Field(description="A page's `nextCursor`; without it, the first page.")
]
WarnBefore = Annotated[
    int,
    Field(
        strict=True,
        ge=1,
        le=86_400,
        description="Send the event `hold.expiring` once, this many seconds before the deadline, wherever that is "
        "moved until then. Less than `ttlSeconds`.",
        examples=[120],
    ),
]
MetadataKey = Annotated[
    str, Matching(r"[^\[\]\x00-\x1f\x7f]{1,40}", "must be 1 to 40 characters without '[', ']' and control characters")
]
MetadataValue = Annotated[
    str,
    StringConstraints(max_length=500),
    Matching(r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*", "must have no control characters but tabs and line breaks"),
]
CheckoutSessionId = Annotated[
    str,
    Matching("cs_[A-Za-z0-9_]{1,250}", "must be the id of a Checkout Session: cs_…"),
    Field(examples=["cs_test_a1B2"]),
]
PaymentIntentId = Annotated[
    str,
    Matching("pi_[A-Za-z0-9_]{1,250}", "must be the id of a PaymentIntent: pi_…"),
    Field(examples=["pi_3Pq2Rs"]),
]
AttributeValue = Annotated[str, StringConstraints(max_length=200), Printable]
AttributeName = Annotated[str, StringConstraints(min_length=1, max_length=100), Printable]


class LineIn(Model):
    """An item and a number of units."""

    sku: Sku
    variant_key: VariantKey = ""
    quantity: Quantity


Lines = Annotated[list[LineIn], Field(min_length=1, max_length=MAX_LINES)]


class ValidateIn(Model):
    """A cart to validate. The units of the active hold named here count as available: it is the shopper's own."""

    shop_id: ShopId
    items: Lines
    hold_id: HoldId | None = None
    reference: Annotated[Identifier | None, Field(description="The `reference` of the shopper's active hold.")] = None


class HoldIn(Model):
    """A cart to hold."""

    shop_id: ShopId
    items: Lines
    ttl_seconds: Ttl | None = None
    hold_id: HoldId | None = None
    reference: Reference | None = None
    replace: Replace = False
    browser_extensions: BrowserExtensions = 0
    buyer: Buyer | None = None
    warn_before_seconds: WarnBefore | None = None
    metadata: Annotated[
        dict[MetadataKey, MetadataValue],
        Field(max_length=20, description="Comes back in answers and events. No personal data."),
    ] = Field(default_factory=dict)


class AmendIn(Model):
    """What to change of a hold. What is left out stays as it is."""

    items: Annotated[Lines | None, Field(description="The whole new set.")] = None
    reference: Reference | None = None
    ttl_seconds: Annotated[
        Ttl | None, Field(description="The hold lives at least this long from now, up to the ceiling of its life.")
    ] = None
    buyer: Buyer | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must have one of items, reference, ttlSeconds and buyer")
        return self

    @field_validator("items", "reference", "ttl_seconds", "buyer")
    @classmethod
    def _not_null(cls, value: object) -> object:
        if value is None:
            raise ValueError("must not be null; leave it out to keep it")
        return value


class PaymentIn(Model):
    """A payment that the shop opened itself: one of the two ids."""

    checkout_session_id: CheckoutSessionId | None = None
    payment_intent_id: PaymentIntentId | None = None
    replace: Annotated[
        bool, Field(strict=True, description="Close the hold's earlier payment first, then attach this one.")
    ] = False

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.checkout_session_id is None) == (self.payment_intent_id is None):
            raise ValueError("must have one of checkoutSessionId and paymentIntentId")
        return self


class EndIn(Model):
    """Why a hold is ended."""

    reason: Reason | None = None


class CommitIn(EndIn):
    """What to sell of a hold, and why."""

    items: Annotated[
        Lines | None, Field(description="Sell only these units of the hold, and give the others back. All if absent.")
    ] = None
    paid_elsewhere: Annotated[
        bool,
        Field(
            strict=True,
            description="You were paid in another way: sell the hold whatever Stripe says of its attached payment, "
            "which is closed.",
        ),
    ] = False


class ExtendIn(Model):
    """How much longer, from the present deadline."""

    ttl_seconds: Ttl


class ItemIn(Model):
    """An item's count, and other fields to change. An omitted field keeps its value, null clears it."""

    sku: Sku
    variant_key: VariantKey = ""
    on_hand: OnHand
    product_id: Identifier | None = None
    name: ProductName | None = None
    variant_attributes: Annotated[dict[AttributeName, AttributeValue], Field(max_length=_MAX_ATTRIBUTES)] | None = None
    low_stock_threshold: OnHand | None = None
    retired: Annotated[
        bool,
        Field(strict=True, description="true: no new hold can have it; its holds go on. false: it can be held again."),
    ] = False
    max_per_order: Annotated[Quantity | None, Field(description="The most units of it in one hold.")] = None
    max_per_buyer: Annotated[
        Quantity | None,
        Field(
            description="The most units of it that one `buyer` can have: in active holds, and sold within "
            "INVENTORY_BUYER_WINDOW_SECONDS less returns. In a hold without a buyer: the most in that hold."
        ),
    ] = None


class ItemsIn(Model):
    """Items to set by count. Other items stay as they are."""

    shop_id: ShopId
    reason: Reason | None = None
    items: Annotated[list[ItemIn], Field(min_length=1, max_length=MAX_ITEMS)]


class ItemsQuery(Model):
    """Which items to list."""

    shop_id: ShopId
    sku: Sku | None = None
    low_stock: Annotated[
        bool, Field(description="Only items at or below their threshold, without the retired ones.")
    ] = False
    retired: Annotated[bool | None, Field(description="Only retired items, or only the others.")] = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100
    cursor: Cursor | None = None


def merged(lines: Sequence[LineIn]) -> tuple[Line, ...]:
    """Return one line for each item, with the sum of its lines, in key order."""
    demand: dict[tuple[str, str], int] = {}
    for line in lines:
        key = (line.sku, line.variant_key)
        demand[key] = demand.get(key, 0) + line.quantity
    return tuple(Line(sku, variant_key, quantity) for (sku, variant_key), quantity in sorted(demand.items()))
