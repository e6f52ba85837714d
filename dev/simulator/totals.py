"""What a session costs: lines, discount, shipping and tax."""

from dev.simulator.currencies import smallest_step
from dev.simulator.records import Session
from dev.simulator.store import Store

TAX_PERCENT = 20
"""The simulator's one tax rate, everywhere."""


def add_up(session: Session, store: Store) -> None:
    """Set the amounts of the session from its lines, its coupon, the chosen shipping, and the address."""
    prices = [(store.prices[line.price], line.quantity) for line in session.lines]
    session.amount_subtotal = sum(price.unit_amount * quantity for price, quantity in prices)
    session.amount_discount = min(_discount(session, store), session.amount_subtotal)
    rate = store.shipping_rates.get(session.shipping_rate or "")
    session.amount_shipping = 0 if rate is None else rate.amount
    session.amount_tax, added = 0, 0
    if session.taxed and session.shopper is not None:
        share = 1 - session.amount_discount / session.amount_subtotal if session.amount_subtotal else 0
        taxed = [(price.unit_amount * quantity * share, price.tax_behavior) for price, quantity in prices]
        taxed += [] if rate is None else [(rate.amount, rate.tax_behavior)]
        included = sum(amount for amount, behavior in taxed if behavior == "inclusive")
        excluded = sum(amount for amount, behavior in taxed if behavior != "inclusive")
        added = _rounded(excluded * TAX_PERCENT / 100, session.currency)
        session.amount_tax = added + _rounded(included * TAX_PERCENT / (100 + TAX_PERCENT), session.currency)
    session.amount_total = session.amount_subtotal - session.amount_discount + session.amount_shipping + added


def _discount(session: Session, store: Store) -> int:
    coupon = store.coupons.get(session.coupon or "")
    if coupon is None:
        return 0
    if coupon.amount_off is not None:
        return coupon.amount_off
    return _rounded((session.amount_subtotal or 0) * (coupon.percent_off or 0) / 100, session.currency)


def _rounded(amount: float, currency: str) -> int:
    step = smallest_step(currency)
    return round(amount / step) * step
