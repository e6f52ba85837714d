"""Coupons, promotion codes and customers, as far as a Checkout Session needs them."""

from dev.simulator.account import Account
from dev.simulator.errors import invalid
from dev.simulator.forms import Params
from dev.simulator.ids import new_id, random_text
from dev.simulator.records import Coupon, Customer, PromotionCode
from dev.simulator.store import find

_EXPAND = frozenset({"expand"})


def create_coupon(account: Account, params: Params) -> Coupon:
    """Create a coupon."""
    percent, amount = params.text("percent_off"), params.integer("amount_off", least=1)
    if (percent is None) == (amount is None):
        raise invalid("Pass one of percent_off and amount_off.", param="percent_off")
    coupon = Coupon(
        id=params.text("id") or random_text(8),
        created=account.clock.now(),
        name=params.text("name"),
        percent_off=None if percent is None else _percent(percent),
        amount_off=amount,
        currency=None if amount is None else params.currency(),
        metadata=params.metadata(),
    )
    if (params.choice("duration", "forever", "once", "repeating") or "once") != "once":
        raise invalid("The simulator does not know coupons of another duration than once.", param="duration")
    params.refuse_unknown(_EXPAND)
    account.store.coupons[coupon.id] = coupon
    account.changes += 1
    return coupon


def _percent(text: str) -> float:
    try:
        percent = float(text)
    except ValueError:
        percent = 0.0
    if not 0 < percent <= 100:  # noqa: PLR2004 - per cent
        raise invalid("Invalid percent_off: must be above 0, at most 100", param="percent_off")
    return percent


def create_promotion_code(account: Account, params: Params) -> PromotionCode:
    """Create a promotion code of a coupon."""
    promotion = params.nested("promotion")
    if promotion is None:
        raise params.absent("promotion")
    promotion.choice("type", "coupon")
    coupon = find(account.store.coupons, promotion.required("coupon"), "coupon", "promotion[coupon]", in_url=False)
    code = PromotionCode(
        id=new_id("promo"),
        created=account.clock.now(),
        code=params.text("code") or random_text(8).upper(),
        coupon=coupon.id,
        active=params.flag("active") is not False,
        metadata=params.metadata(),
    )
    params.refuse_unknown(_EXPAND)
    account.store.promotion_codes[code.id] = code
    account.changes += 1
    return code


def create_customer(account: Account, params: Params) -> Customer:
    """Create a customer."""
    customer = Customer(
        id=new_id("cus"),
        created=account.clock.now(),
        email=params.text("email"),
        name=params.text("name"),
        metadata=params.metadata(),
    )
    params.refuse_unknown(_EXPAND | {"address", "description", "phone", "shipping"})
    account.store.customers[customer.id] = customer
    account.changes += 1
    return customer
