"""What a request for a page to pay on becomes for Stripe. What no session or hold can have is refused before."""

from collections.abc import Iterator, Sequence
from typing import Any

from api.checkout_requests import CheckoutLineIn, ExtraLineIn, PageIn
from api.errors import invalid
from api.requests import MAX_LINES
from api.stripe_options import check_names, check_values, checked_options, option_currencies
from payments.currencies import smallest_step
from payments.session_options import PRODUCT
from payments.session_params import Order, PaidLine


def order_of(body: PageIn, shop_id: str, hold_id: str | None, reference: str | None, page: str | None = None) -> Order:
    """Return what a Checkout Session is created for. Raises the 422."""
    if len(body.items) + len(body.extra_lines) > MAX_LINES:
        raise invalid("extraLines", f"must be at most {MAX_LINES} lines together with items")
    for field, line in _named(body):
        check_values(f"{field}.productData", line.product_data)
        check_names(f"{field}.productData", line.product_data, PRODUCT)
    options = checked_options(body.stripe)
    _check_addresses(body, options)
    _check_amounts([*_amounts(body), *option_currencies(options)])
    return Order(
        shop_id=shop_id,
        hold_id=hold_id,
        lines=[_paid_line(field, line) for field, line in _named(body)],
        success_url=body.success_url,
        cancel_url=body.cancel_url,
        reference=reference,
        capture_method=body.capture_method,
        payment_method_types=body.payment_method_types,
        locale=body.locale,
        metadata=body.metadata,
        page=page,
        options=options,
    )


def _named(body: PageIn) -> Iterator[tuple[str, CheckoutLineIn | ExtraLineIn]]:
    """Yield each line with the name of its field."""
    for place, item in enumerate(body.items):
        yield f"items[{place}]", item
    for place, extra in enumerate(body.extra_lines):
        yield f"extraLines[{place}]", extra


def _paid_line(field: str, line: CheckoutLineIn | ExtraLineIn) -> PaidLine:
    own = {"description": line.description, "images": line.images, "tax_code": line.tax_code}
    return PaidLine(
        quantity=line.quantity,
        price=line.price,
        name=line.name,
        unit_amount=line.unit_amount,
        currency=line.currency,
        tax_behavior=line.tax_behavior,
        place=field,
        product={**line.product_data, **{name: value for name, value in own.items() if value is not None}},
    )


def _check_addresses(body: PageIn, options: dict[str, Any]) -> None:
    """Raise the 422 if the shopper would have no way back, or one that Stripe does not take in this mode."""
    mode = options.get("ui_mode", "hosted_page")
    if mode == "hosted_page":
        if body.success_url is None:
            raise invalid("successUrl", "is missing")
        if "return_url" in options:
            raise invalid("stripe.return_url", "is of stripe.ui_mode embedded_page and elements; use successUrl")
        return
    for name, value in (("successUrl", body.success_url), ("cancelUrl", body.cancel_url)):
        if value is not None:
            raise invalid(name, f"must be left out with stripe.ui_mode {mode}; use stripe.return_url")


def _amounts(body: PageIn) -> Iterator[tuple[str, str, int]]:
    for field, line in _named(body):
        if line.currency is not None:
            yield f"{field}.currency", line.currency.lower(), line.unit_amount or 0


def _check_amounts(amounts: Sequence[tuple[str, str, int]]) -> None:
    """Raise the 422 for a second currency, and for an amount that the currency does not have."""
    for field, currency, amount in amounts:
        first, of_first, _ = amounts[0]
        if currency != of_first:
            raise invalid(field, f"must be {of_first}, as {first}: a session has one currency")
        if amount % (step := smallest_step(currency)):
            zeros = str(step).count("0")
            name = field.replace(".fixed_amount.currency", ".fixed_amount.amount").replace("].currency", "].unitAmount")
            raise invalid(name, f"must end in {'0' * zeros}: so Stripe takes amounts in {currency.upper()}")
