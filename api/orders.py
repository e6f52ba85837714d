"""What a request for a page to pay on becomes for Stripe."""

from api.requests import PageIn
from payments.session_params import Order, PaidLine


def order_of(body: PageIn, shop_id: str, hold_id: str | None, reference: str | None, page: str | None = None) -> Order:
    """Return what a Checkout Session is created for."""
    return Order(
        shop_id=shop_id,
        hold_id=hold_id,
        lines=[PaidLine(line.quantity, line.price, line.name, line.unit_amount, line.currency) for line in body.items],
        success_url=body.success_url,
        cancel_url=body.cancel_url,
        reference=reference,
        capture_method=body.capture_method,
        payment_method_types=body.payment_method_types,
        locale=body.locale,
        metadata=body.metadata,
        page=page,
    )
