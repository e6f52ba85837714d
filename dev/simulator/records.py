"""The simulator's records, which are JSON values. `shapes` renders them as Stripe does."""

from dataclasses import dataclass, field
from typing import Any, Literal

from dev.simulator.methods import PayMethod

Json = dict[str, Any]

SessionStatus = Literal["open", "complete", "expired"]
IntentStatus = Literal[
    "requires_payment_method",
    "requires_confirmation",
    "requires_action",
    "processing",
    "requires_capture",
    "canceled",
    "succeeded",
]


@dataclass
class Product:
    """A product."""

    id: str
    created: int
    name: str
    description: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    images: list[str] = field(default_factory=list)
    tax_code: str | None = None


@dataclass
class Price:
    """What one unit of a product costs. `listed` is False for those created by `price_data`."""

    id: str
    created: int
    product: str
    currency: str
    unit_amount: int
    listed: bool = True
    metadata: dict[str, str] = field(default_factory=dict)
    tax_behavior: str = "unspecified"


@dataclass
class ShippingRate:
    """A fixed price of shipping."""

    id: str
    created: int
    display_name: str
    amount: int
    currency: str
    tax_behavior: str = "unspecified"
    delivery_estimate: Json | None = None
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass
class Coupon:
    """A discount: a share or an amount."""

    id: str
    created: int
    name: str | None
    percent_off: float | None
    amount_off: int | None
    currency: str | None
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass
class PromotionCode:
    """What the shopper enters for a coupon."""

    id: str
    created: int
    code: str
    coupon: str
    active: bool = True
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass
class Customer:
    """A customer."""

    id: str
    created: int
    email: str | None
    name: str | None
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass
class Invoice:
    """The invoice of a paid session: a stub without lines."""

    id: str
    created: int
    session: str
    customer: str
    email: str | None
    currency: str
    subtotal: int
    shipping: int
    total: int
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass
class Line:
    """One line of a Checkout Session."""

    id: str
    price: str
    quantity: int


@dataclass
class Session:
    """A Checkout Session."""

    id: str
    created: int
    expires_at: int
    currency: str
    amount_total: int
    lines: list[Line]
    page: str
    """The address of its pay page; answered as `url` while the session is open."""
    success_url: str | None
    cancel_url: str | None
    payment_method_types: list[str]
    capture_method: str
    metadata: dict[str, str]
    intent_metadata: dict[str, str]
    intent_description: str | None
    echoed: Json
    """Parameters that are returned unchanged and have no effect."""
    routing: Json = field(default_factory=dict)
    """What its payment transfers to another account, and the application fee."""
    account: str | None = None
    """The account that has it; None for the platform's."""
    status: SessionStatus = "open"
    payment_intent: str | None = None
    customer_details: Json | None = None
    ui_mode: str = "hosted_page"
    client_secret: str | None = None
    return_url: str | None = None
    redirect_on_completion: str = "always"
    countries: list[str] = field(default_factory=list)
    """Where it ships to; empty if it asks for no address."""
    shipping_rates: list[str] = field(default_factory=list)
    shipping_rate: str | None = None
    """The chosen one of them."""
    taxed: bool = False
    coupon: str | None = None
    promotion_code: str | None = None
    takes_codes: bool = False
    invoiced: bool = False
    asks_phone: bool = False
    customer: str | None = None
    makes_customer: bool = False
    invoice: str | None = None
    recovered_from: str | None = None
    """The expired session of which it is a copy."""
    shopper: Json | None = None
    amount_subtotal: int | None = None
    """None in the state of an earlier version: then it is the total."""
    amount_discount: int = 0
    amount_shipping: int = 0
    amount_tax: int = 0


@dataclass
class PaymentMethod:
    """A payment method, used once."""

    id: str
    created: int
    type: str
    how: PayMethod


@dataclass
class Intent:
    """A PaymentIntent."""

    id: str
    created: int
    amount: int
    currency: str
    client_secret: str
    payment_method_types: list[str]
    capture_method: str = "automatic_async"
    confirmation_method: str = "automatic"
    automatic: Json | None = None
    """`automatic_payment_methods`, where the caller asked for them."""
    metadata: dict[str, str] = field(default_factory=dict)
    description: str | None = None
    receipt_email: str | None = None
    customer: str | None = None
    return_url: str | None = None
    session: str | None = None
    """The Checkout Session that made it."""
    routing: Json = field(default_factory=dict)
    """`application_fee_amount`, `on_behalf_of` and `transfer_data`, where they were given."""
    account: str | None = None
    """The account that has it; None for the platform's."""
    status: IntentStatus = "requires_payment_method"
    payment_method: str | None = None
    latest_charge: str | None = None
    last_payment_error: Json | None = None
    next_action: Json | None = None
    amount_capturable: int = 0
    amount_received: int = 0
    canceled_at: int | None = None
    cancellation_reason: str | None = None
    authorized_until: int | None = None
    """When an uncaptured payment is cancelled."""

    @property
    def waits_for_voucher(self) -> bool:
        """Return whether a voucher was issued and is not paid yet."""
        return self.next_action is not None and self.next_action["type"] != "redirect_to_url"


@dataclass
class Charge:
    """One attempt to move money."""

    id: str
    created: int
    payment_intent: str
    amount: int
    currency: str
    payment_method: str
    method_type: str
    metadata: dict[str, str]
    description: str | None
    status: Literal["succeeded", "pending", "failed"]
    captured: bool = False
    amount_captured: int = 0
    amount_refunded: int = 0
    disputed: bool = False
    failure_code: str | None = None
    failure_message: str | None = None
    decline_code: str | None = None
    balance_transaction: str | None = None
    routing: Json = field(default_factory=dict)


@dataclass
class Refund:
    """A refund."""

    id: str
    created: int
    charge: str
    payment_intent: str
    amount: int
    currency: str
    reason: str | None
    metadata: dict[str, str]
    status: Literal["pending", "succeeded", "failed"]
    failure_reason: str | None = None
    returns_fee: bool = False
    reverses_transfer: bool = False


@dataclass
class Dispute:
    """A chargeback."""

    id: str
    created: int
    charge: str
    payment_intent: str
    amount: int
    currency: str
    reason: str = "fraudulent"
    status: str = "needs_response"


@dataclass
class Event:
    """An event, with a snapshot of its object."""

    id: str
    created: int
    type: str
    object: Json
    previous: Json | None
    request_id: str | None
    idempotency_key: str | None
    chain: str
    """The payment it is about: events of one payment are sent in their order unless a fault says otherwise."""
    account: str | None = None
    """The account that has the object; None for the platform's."""


@dataclass
class Answer:
    """The stored answer of an idempotency key; empty while its first request runs."""

    fingerprint: str
    created: int
    status: int | None = None
    body: Json = field(default_factory=dict)
    request_id: str = ""
