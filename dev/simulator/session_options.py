"""What a Checkout Session asks and adds up: address, shipping, discounts, tax, invoice, and where it is shown."""

from dataclasses import dataclass, field

from dev.simulator.account import Account
from dev.simulator.errors import StripeError, invalid
from dev.simulator.forms import Params
from dev.simulator.ids import new_id, random_text
from dev.simulator.records import Json, ShippingRate
from dev.simulator.store import find

_MOST_SHIPPING_OPTIONS = 5


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a new session."""

    ui_mode: str = "hosted_page"
    success_url: str | None = None
    cancel_url: str | None = None
    return_url: str | None = None
    redirect_on_completion: str = "always"
    countries: list[str] = field(default_factory=list)
    shipping_rates: list[str] = field(default_factory=list)
    taxed: bool = False
    coupon: str | None = None
    promotion_code: str | None = None
    takes_codes: bool = False
    invoiced: bool = False
    asks_phone: bool = False
    customer: str | None = None
    makes_customer: bool = False


def read_options(account: Account, params: Params, currency: str) -> Options:
    """Read them from the parameters of the session."""
    mode = _ui_mode(params)
    address, tax = params.nested("shipping_address_collection"), params.nested("automatic_tax")
    invoice, phone = params.nested("invoice_creation"), params.nested("phone_number_collection")
    customer = params.text("customer")
    if customer is not None:
        find(account.store.customers, customer, "customer", "customer", in_url=False)
    coupon, code = _discount(account, params, currency)
    return Options(
        ui_mode=mode,
        success_url=_address(params, "success_url", allowed=mode == "hosted_page", mode=mode),
        cancel_url=_address(params, "cancel_url", allowed=mode == "hosted_page", mode=mode, required=False),
        return_url=_return_url(params, mode),
        redirect_on_completion=params.choice("redirect_on_completion", "always", "if_required", "never") or "always",
        countries=[] if address is None else address.texts("allowed_countries"),
        shipping_rates=_shipping_rates(account, params, currency),
        taxed=tax is not None and _enabled(tax),
        coupon=coupon,
        promotion_code=code,
        takes_codes=params.flag("allow_promotion_codes") is True,
        invoiced=invoice is not None and _enabled(invoice),
        asks_phone=phone is not None and _enabled(phone),
        customer=customer,
        makes_customer=params.choice("customer_creation", "always", "if_required") == "always",
    )


def new_client_secret(session_id: str) -> str:
    """Return the client secret of an embedded session."""
    return f"{session_id}_secret_{random_text(40)}"


def _ui_mode(params: Params) -> str:
    mode = params.text("ui_mode") or "hosted_page"
    if mode not in ("hosted_page", "embedded_page", "elements"):
        raise invalid(f"The simulator does not know ui_mode={mode}.", param="ui_mode")
    return mode


def _address(params: Params, name: str, *, allowed: bool, mode: str, required: bool = True) -> str | None:
    url = params.url(name)
    if allowed and required and url is None:
        raise params.absent(name)
    if not allowed and url is not None:
        raise invalid(f"`{name}` is not allowed with `ui_mode: {mode}`.", param=name)
    return url


def _return_url(params: Params, mode: str) -> str | None:
    never = params.choice("redirect_on_completion", "always", "if_required", "never") == "never"
    return _address(params, "return_url", allowed=mode != "hosted_page", mode=mode, required=not never)


def _enabled(params: Params) -> bool:
    """Read `enabled`; other fields have no effect."""
    params.take_all()
    return params.flag("enabled") is True


def _shipping_rates(account: Account, params: Params, currency: str) -> list[str]:
    options = params.each("shipping_options")
    if len(options) > _MOST_SHIPPING_OPTIONS:
        raise invalid(f"At most {_MOST_SHIPPING_OPTIONS} shipping options.", param="shipping_options")
    rates = [_shipping_rate(account, option) for option in options]
    for option, rate in zip(options, rates, strict=True):
        if rate.currency != currency:
            raise invalid("The shipping rate has another currency than the line items.", param=option.path)
    return [rate.id for rate in rates]


def _shipping_rate(account: Account, option: Params) -> ShippingRate:
    data = option.nested("shipping_rate_data")
    if (data is None) == (not option.given("shipping_rate")):
        raise invalid("Pass one of shipping_rate and shipping_rate_data.", param=option.path)
    if data is None:
        name = option.required("shipping_rate")
        return find(account.store.shipping_rates, name, "shipping_rate", option.named("shipping_rate"), in_url=False)
    return create_shipping_rate(account, data)


def create_shipping_rate(account: Account, params: Params) -> ShippingRate:
    """Create a shipping rate of a fixed amount."""
    name = params.required("display_name")
    params.choice("type", "fixed_amount")
    fixed = params.nested("fixed_amount")
    if fixed is None:
        raise params.absent("fixed_amount")
    amount = fixed.integer("amount", least=0)
    if amount is None:
        raise fixed.absent("amount")
    behavior = params.choice("tax_behavior", "exclusive", "inclusive", "unspecified") or "unspecified"
    params.text("tax_code")
    rate = ShippingRate(
        id=new_id("shr"),
        created=account.clock.now(),
        display_name=name,
        amount=amount,
        currency=fixed.currency(),
        tax_behavior=behavior,
        delivery_estimate=_estimate(params),
        metadata=params.metadata(),
    )
    account.store.shipping_rates[rate.id] = rate
    return rate


def _estimate(params: Params) -> Json | None:
    given = params.nested("delivery_estimate")
    if given is None:
        return None
    estimate: Json = {"maximum": None, "minimum": None}
    for name in estimate:
        if (bound := given.nested(name)) is not None:
            unit = bound.choice("unit", "business_day", "day", "hour", "month", "week")
            estimate[name] = {"unit": unit, "value": bound.integer("value", least=1)}
    return estimate


def _discount(account: Account, params: Params, currency: str) -> tuple[str | None, str | None]:
    """Return the coupon and the promotion code that the shop gives."""
    given = params.each("discounts")
    if not given:
        return None, None
    if len(given) > 1 or params.given("allow_promotion_codes"):
        raise invalid("Only one discount, and none beside allow_promotion_codes.", param="discounts")
    coupon, code = given[0].text("coupon"), given[0].text("promotion_code")
    if (coupon is None) == (code is None):
        raise invalid("Pass one of coupon and promotion_code.", param=given[0].path)
    if code is not None:
        coupon = find(
            account.store.promotion_codes, code, "promotion code", given[0].named("promotion_code"), in_url=False
        ).coupon
    check_coupon(account, str(coupon), currency, given[0].named("coupon"))
    return coupon, code


def check_coupon(account: Account, coupon_id: str, currency: str, param: str) -> None:
    """Raise unless there is such a coupon, of the currency if it takes off an amount."""
    coupon = find(account.store.coupons, coupon_id, "coupon", param, in_url=False)
    if coupon.currency not in (None, currency):
        raise _wrong_currency(param)


def _wrong_currency(param: str) -> StripeError:
    return invalid("The coupon has another currency than the line items.", param=param)
