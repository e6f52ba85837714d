"""Records as Stripe's API shows them: every field that Stripe answers with, null if the simulator has no value."""

from collections.abc import Callable
from typing import Any, Literal

from dev.simulator.payment_shapes import charge, dispute, intent, payment_method, refund
from dev.simulator.records import (
    Charge,
    Coupon,
    Customer,
    Dispute,
    Event,
    Intent,
    Invoice,
    Json,
    Line,
    PaymentMethod,
    Price,
    Product,
    PromotionCode,
    Refund,
    Session,
    ShippingRate,
)
from dev.simulator.sale_shapes import coupon, customer, invoice, promotion_code, shipping_rate
from dev.simulator.store import Store

_ABSENT_IN_SESSION = (
    "after_expiration",
    "billing_address_collection",
    "client_reference_id",
    "consent",
    "consent_collection",
    "currency_conversion",
    "customer_account",
    "customer_email",
    "locale",
    "origin_context",
    "payment_link",
    "payment_method_configuration_details",
    "permissions",
    "saved_payment_method_options",
    "setup_intent",
    "submit_type",
    "subscription",
    "wallet_options",
)

_CUSTOM_TEXT = ("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")


def render(record: Any, store: Store) -> Json:  # noqa: ANN401 - any record
    """Return the record as its Stripe object."""
    return session(record, store) if isinstance(record, Session) else _SHAPES[type(record)](record)


PaymentStatus = Literal["paid", "unpaid", "no_payment_required"]


def payment_status(record: Session, store: Store) -> PaymentStatus:
    """Return `payment_status`: an authorised, uncaptured payment is unpaid."""
    if record.payment_intent is None:
        return "no_payment_required" if record.status == "complete" else "unpaid"
    return "paid" if store.intents[record.payment_intent].status == "succeeded" else "unpaid"


def session(record: Session, store: Store) -> Json:
    """Render a Checkout Session, without its lines, which Stripe shows only when requested."""
    return {
        "id": record.id,
        "object": "checkout.session",
        **dict.fromkeys(_ABSENT_IN_SESSION),
        "adaptive_pricing": {"enabled": False},
        "allow_promotion_codes": record.takes_codes or None,
        "amount_subtotal": record.amount_total if record.amount_subtotal is None else record.amount_subtotal,
        "amount_total": record.amount_total,
        "automatic_tax": _tax(record),
        "cancel_url": record.cancel_url,
        "client_secret": record.client_secret if record.status == "open" else None,
        "collected_information": _collected(record),
        "created": record.created,
        "currency": record.currency,
        "custom_fields": [],
        "custom_text": dict.fromkeys(_CUSTOM_TEXT),
        "customer": record.customer,
        "customer_creation": "always" if record.makes_customer else "if_required",
        "customer_details": record.customer_details,
        "discounts": [{"coupon": record.coupon, "promotion_code": record.promotion_code}] if record.coupon else [],
        "excluded_payment_method_types": [],
        "expires_at": record.expires_at,
        "invoice": record.invoice,
        "invoice_creation": {"enabled": record.invoiced, "invoice_data": _INVOICE_DATA},
        "livemode": False,
        "metadata": record.metadata,
        "mode": "payment",
        "payment_intent": record.payment_intent,
        "payment_method_collection": "if_required",
        "payment_method_options": {},
        "payment_method_types": record.payment_method_types,
        "payment_status": payment_status(record, store),
        "phone_number_collection": {"enabled": record.asks_phone},
        "recovered_from": record.recovered_from,
        "redirect_on_completion": record.redirect_on_completion,
        "shipping_address_collection": {"allowed_countries": record.countries} if record.countries else None,
        "shipping_cost": _shipping_cost(record),
        "shipping_options": [
            {"shipping_amount": store.shipping_rates[rate].amount, "shipping_rate": rate}
            for rate in record.shipping_rates
        ],
        "status": record.status,
        "success_url": record.success_url,
        "total_details": {
            "amount_discount": record.amount_discount,
            "amount_shipping": record.amount_shipping,
            "amount_tax": record.amount_tax,
        },
        "ui_mode": record.ui_mode,
        "url": record.page if record.status == "open" and record.ui_mode == "hosted_page" else None,
        **({"return_url": record.return_url} if record.return_url is not None else {}),
        **record.echoed,
    }


def _tax(record: Session) -> Json:
    status = None
    if record.taxed:
        status = "requires_location_inputs" if record.shopper is None else "complete"
    account = {"type": "self"} if record.taxed else None
    return {
        "enabled": record.taxed,
        "liability": account,
        "provider": "stripe" if record.taxed else None,
        "status": status,
    }


def _collected(record: Session) -> Json | None:
    shopper = record.shopper
    if shopper is None or shopper.get("address") is None:
        return None
    details = {"address": shopper["address"], "name": shopper["name"]}
    return {"business_name": None, "individual_name": None, "shipping_details": details}


def _shipping_cost(record: Session) -> Json | None:
    if record.shipping_rate is None:
        return None
    amount = record.amount_shipping
    return {"amount_subtotal": amount, "amount_tax": 0, "amount_total": amount, "shipping_rate": record.shipping_rate}


_INVOICE_DATA: Json = {
    "account_tax_ids": None,
    "custom_fields": None,
    "description": None,
    "footer": None,
    "issuer": None,
    "metadata": {},
    "rendering_options": None,
}


def line(record: Line, store: Store) -> Json:
    """Render one line of a Checkout Session."""
    unit = store.prices[record.price]
    amount = unit.unit_amount * record.quantity
    return {
        "id": record.id,
        "object": "item",
        "adjustable_quantity": None,
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": unit.currency,
        "description": store.products[unit.product].name,
        "metadata": {},
        "price": price(unit),
        "quantity": record.quantity,
    }


def price(record: Price) -> Json:
    """Render a price."""
    return {
        "id": record.id,
        "object": "price",
        "active": record.listed,
        "billing_scheme": "per_unit",
        "created": record.created,
        "currency": record.currency,
        "custom_unit_amount": None,
        "livemode": False,
        "lookup_key": None,
        "metadata": record.metadata,
        "nickname": None,
        "product": record.product,
        "recurring": None,
        "tax_behavior": record.tax_behavior,
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "one_time",
        "unit_amount": record.unit_amount,
        "unit_amount_decimal": str(record.unit_amount),
    }


def product(record: Product) -> Json:
    """Render a product."""
    return {
        "id": record.id,
        "object": "product",
        "active": True,
        "created": record.created,
        "default_price": None,
        "description": record.description,
        "images": record.images,
        "livemode": False,
        "marketing_features": [],
        "metadata": record.metadata,
        "name": record.name,
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": record.tax_code,
        "unit_label": None,
        "updated": record.created,
        "url": None,
    }


def event(record: Event, *, pending: int, api_version: str | None) -> Json:
    """Render a snapshot event. `pending` is the number of endpoints that have not acknowledged it yet."""
    data: Json = {"object": record.object}
    if record.previous is not None:
        data["previous_attributes"] = record.previous
    return {
        "id": record.id,
        "object": "event",
        "api_version": api_version,
        "created": record.created,
        "data": data,
        "livemode": False,
        "pending_webhooks": pending,
        "request": {"id": record.request_id, "idempotency_key": record.idempotency_key},
        "type": record.type,
    }


def page_of(data: list[Json], url: str, *, has_more: bool = False) -> Json:
    """Render a list."""
    return {"object": "list", "data": data, "has_more": has_more, "url": url}


_SHAPES: dict[type, Callable[[Any], Json]] = {
    Intent: intent,
    Charge: charge,
    Refund: refund,
    Dispute: dispute,
    PaymentMethod: payment_method,
    Price: price,
    Product: product,
    Coupon: coupon,
    PromotionCode: promotion_code,
    ShippingRate: shipping_rate,
    Customer: customer,
    Invoice: invoice,
}
