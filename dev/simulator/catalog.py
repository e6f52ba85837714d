"""Products and prices, as far as a Checkout Session needs them."""

from dev.simulator.account import Account
from dev.simulator.errors import invalid
from dev.simulator.forms import Params
from dev.simulator.ids import new_id
from dev.simulator.records import Price, Product
from dev.simulator.store import find


def create_product(account: Account, params: Params) -> Product:
    """Create a product."""
    product = _product(account, params)
    params.refuse_unknown(frozenset({"expand"}))
    account.store.products[product.id] = product
    account.changes += 1
    return product


def create_price(account: Account, params: Params) -> Price:
    """Create a price, of an existing product or of a new one."""
    price = _price(account, params, listed=True)
    params.refuse_unknown(frozenset({"expand"}))
    account.changes += 1
    return price


def find_price(account: Account, params: Params, name: str) -> Price:
    """Return the price that the parameter names."""
    return find(account.store.prices, params.required(name), "price", params.named(name), in_url=False)


def price_in_passing(account: Account, data: Params) -> Price:
    """Create the price of `price_data`, which cannot be used again."""
    return _price(account, data, listed=False)


def _price(account: Account, params: Params, *, listed: bool) -> Price:
    currency = params.currency()
    amount = params.integer("unit_amount", least=0)
    if amount is None:
        raise params.absent("unit_amount")
    data = params.nested("product_data")
    if (data is None) == (not params.given("product")):
        raise invalid(f"Pass one of {params.named('product')} and {params.named('product_data')}.", param=params.path)
    if data is None:
        product = find(
            account.store.products, params.required("product"), "product", params.named("product"), in_url=False
        )
    else:
        product = _product(account, data)
    metadata = params.metadata() if listed else {}
    behavior = params.choice("tax_behavior", "exclusive", "inclusive", "unspecified") or "unspecified"
    price = Price(new_id("price"), account.clock.now(), product.id, currency, amount, listed, metadata, behavior)
    account.store.products[product.id] = product
    account.store.prices[price.id] = price
    return price


def _product(account: Account, params: Params) -> Product:
    name = params.required("name")
    for ignored in ("tax_details", "unit_label"):
        params.ignore(ignored)
    return Product(
        new_id("prod"),
        account.clock.now(),
        name,
        params.text("description"),
        params.metadata(),
        params.texts("images"),
        params.text("tax_code"),
    )
