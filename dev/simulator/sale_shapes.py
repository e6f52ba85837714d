"""Coupons, promotion codes, shipping rates, customers and invoices as Stripe's API shows them."""

from dev.simulator.records import Coupon, Customer, Invoice, Json, PromotionCode, ShippingRate


def coupon(record: Coupon) -> Json:
    """Render a coupon."""
    return {
        "id": record.id,
        "object": "coupon",
        "amount_off": record.amount_off,
        "created": record.created,
        "currency": record.currency,
        "duration": "once",
        "duration_in_months": None,
        "livemode": False,
        "max_redemptions": None,
        "metadata": record.metadata,
        "name": record.name,
        "percent_off": record.percent_off,
        "redeem_by": None,
        "times_redeemed": 0,
        "valid": True,
    }


def promotion_code(record: PromotionCode) -> Json:
    """Render a promotion code."""
    return {
        "id": record.id,
        "object": "promotion_code",
        "active": record.active,
        "code": record.code,
        "created": record.created,
        "customer": None,
        "customer_account": None,
        "expires_at": None,
        "livemode": False,
        "max_redemptions": None,
        "metadata": record.metadata,
        "promotion": {"coupon": record.coupon, "type": "coupon"},
        "restrictions": {
            "first_time_transaction": False,
            "minimum_amount": None,
            "minimum_amount_currency": None,
        },
        "times_redeemed": 0,
    }


def shipping_rate(record: ShippingRate) -> Json:
    """Render a shipping rate."""
    return {
        "id": record.id,
        "object": "shipping_rate",
        "active": True,
        "created": record.created,
        "delivery_estimate": record.delivery_estimate,
        "display_name": record.display_name,
        "fixed_amount": {"amount": record.amount, "currency": record.currency},
        "livemode": False,
        "metadata": record.metadata,
        "tax_behavior": record.tax_behavior,
        "tax_code": None,
        "type": "fixed_amount",
    }


def customer(record: Customer) -> Json:
    """Render a customer."""
    return {
        "id": record.id,
        "object": "customer",
        "created": record.created,
        "default_source": None,
        "description": None,
        "email": record.email,
        "livemode": False,
        "metadata": record.metadata,
        "name": record.name,
        "shipping": None,
    }


def invoice(record: Invoice) -> Json:
    """Render the invoice of a paid session, without lines."""
    tax = {"disabled_reason": None, "enabled": False, "liability": None, "provider": None, "status": None}
    paid = {"finalized_at": record.created, "marked_uncollectible_at": None, "paid_at": record.created}
    return {
        "id": record.id,
        "object": "invoice",
        "amount_due": record.total,
        "amount_overpaid": 0,
        "amount_paid": record.total,
        "amount_paid_off_stripe": 0,
        "amount_remaining": 0,
        "amount_shipping": record.shipping,
        "attempt_count": 1,
        "attempted": True,
        "auto_advance": False,
        "automatic_tax": tax,
        "billing_reason": "manual",
        "collection_method": "charge_automatically",
        "created": record.created,
        "currency": record.currency,
        "customer": record.customer,
        "customer_email": record.email,
        "default_tax_rates": [],
        "discounts": [],
        "hosted_invoice_url": None,
        "invoice_pdf": None,
        "issuer": {"type": "self"},
        "lines": {"object": "list", "data": [], "has_more": False, "url": f"/v1/invoices/{record.id}/lines"},
        "livemode": False,
        "metadata": record.metadata,
        "number": f"SIMULATED-{record.id[-8:]}",
        "parent": None,
        "payment_settings": {
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
        "period_end": record.created,
        "period_start": record.created,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "starting_balance": 0,
        "status": "paid",
        "status_transitions": {**paid, "voided_at": None},
        "subtotal": record.subtotal,
        "total": record.total,
    }
