"""Builds the parameters of a Checkout Session, by Stripe's names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from payments.events import HOLD_METADATA_KEY, PAGE_METADATA_KEY, REFERENCE_METADATA_KEY, SHOP_METADATA_KEY

_LONGEST_REFERENCE = 200
"""Stripe's limit for `client_reference_id`; a longer reference is left out."""
_FIRST_PAGE = "first"


@dataclass(frozen=True, slots=True)
class PaidLine:
    """A line to pay: a price defined at Stripe, or a name, an amount in the smallest currency unit and a currency."""

    quantity: int
    price: str | None = None
    name: str | None = None
    unit_amount: int | None = None
    currency: str | None = None
    tax_behavior: str | None = None
    place: str = ""
    """Where the request has it, for example `items[0]`."""
    product: Mapping[str, Any] = field(default_factory=dict)
    """Further `product_data`, by Stripe's names."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a Checkout Session is created for. `hold_id` is None where nothing is held."""

    shop_id: str
    hold_id: str | None
    lines: Sequence[PaidLine]
    success_url: str | None
    cancel_url: str | None
    reference: str | None = None
    capture_method: Literal["automatic", "manual"] = "automatic"
    payment_method_types: Sequence[str] | None = None
    locale: str | None = None
    metadata: dict[str, str] | None = None
    page: str | None = None
    """Distinguishes a later page of the same hold from its first one."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further parameters by Stripe's names, which may have personal data."""

    @property
    def is_private(self) -> bool:
        """Whether the parameters must not be readable in the workflow's history."""
        return bool(self.options)


def session_params(order: Order) -> dict[str, Any]:
    """Return the parameters. The metadata are set on the session and on its PaymentIntent, whose events need them."""
    metadata = {**(order.metadata or {}), SHOP_METADATA_KEY: order.shop_id}
    if order.hold_id is not None:
        metadata[HOLD_METADATA_KEY] = order.hold_id
    if order.page is not None:
        metadata[PAGE_METADATA_KEY] = order.page
    params: dict[str, Any] = {
        **order.options,
        "mode": "payment",
        "line_items": [_line(line) for line in order.lines],
        "metadata": metadata,
        "payment_intent_data": {**order.options.get("payment_intent_data", {}), "metadata": metadata},
    }
    if order.success_url is not None:
        params["success_url"] = order.success_url
    if order.capture_method == "manual":
        params["payment_intent_data"]["capture_method"] = "manual"
    if order.cancel_url is not None:
        params["cancel_url"] = order.cancel_url
    if order.payment_method_types is not None:
        # Since the API version 2026-09-30, which has no `payment_method_types` any more.
        params["allowed_payment_method_types"] = list(order.payment_method_types)
    if order.locale is not None:
        params["locale"] = order.locale
    if order.reference is not None and len(order.reference) <= _LONGEST_REFERENCE:
        params["client_reference_id"] = order.reference
    return params


def of_hold(params: dict[str, Any], reference: str | None) -> dict[str, Any]:
    """Return the parameters of a hold's page: with metadata that mark it as one, and the order's reference, if any.

    What the caller has set stays. They are not part of `session_params`, whose digest distinguishes the requests of
    earlier releases, too.
    """
    named = {PAGE_METADATA_KEY: _FIRST_PAGE} | ({} if reference is None else {REFERENCE_METADATA_KEY: reference})
    metadata = named | params["metadata"]
    return params | {
        "metadata": metadata,
        "payment_intent_data": params["payment_intent_data"] | {"metadata": metadata},
    }


def _line(line: PaidLine) -> dict[str, Any]:
    if line.price is not None:
        return {"quantity": line.quantity, "price": line.price}
    price = {
        "currency": (line.currency or "").lower(),
        "unit_amount": line.unit_amount,
        "product_data": {**line.product, "name": line.name},
    }
    if line.tax_behavior is not None:
        price["tax_behavior"] = line.tax_behavior
    return {"quantity": line.quantity, "price_data": price}
