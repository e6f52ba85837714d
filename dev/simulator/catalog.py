"""Products and prices, as far as a Checkout Session needs them."""

from dev.simulator.account import World
from dev.simulator.errors import invalid
from dev.simulator.forms import Params
from dev.simulator.ids import new_id
from dev.simulator.records import Price, Product
from dev.simulator.store import find


def create_product(world: World, params: Params) -> Product:
    """Make a product."""
    product = _product(world, params)
    params.refuse_unknown(frozenset({"expand"}))
    world.store.products[product.id] = product
    world.changes += 1
    return product


def create_price(world: World, params: Params) -> Price:
    """Make a price, of a product that there is or of one made in passing."""
    price = _price(world, params, listed=True)
    params.refuse_unknown(frozenset({"expand"}))
    world.changes += 1
    return price


def find_price(world: World, params: Params, name: str) -> Price:
    """Return the price that the parameter names."""
    return find(world.store.prices, params.required(name), "price", params.named(name), in_url=False)


def price_in_passing(world: World, data: Params) -> Price:
    """Make the price of `price_data`, which cannot be used again."""
    data.choice("tax_behavior", "exclusive", "inclusive", "unspecified")
    return _price(world, data, listed=False)


def _price(world: World, params: Params, *, listed: bool) -> Price:
    currency = params.currency()
    amount = params.integer("unit_amount", least=0)
    if amount is None:
        raise params.absent("unit_amount")
    data = params.nested("product_data")
    if (data is None) == (not params.given("product")):
        raise invalid(f"Pass one of {params.named('product')} and {params.named('product_data')}.", param=params.path)
    if data is None:
        product = find(
            world.store.products, params.required("product"), "product", params.named("product"), in_url=False
        )
    else:
        product = _product(world, data)
    metadata = params.metadata() if listed else {}
    price = Price(new_id("price"), world.clock.now(), product.id, currency, amount, listed, metadata)
    world.store.products[product.id] = product
    world.store.prices[price.id] = price
    return price


def _product(world: World, params: Params) -> Product:
    name = params.required("name")
    params.texts("images")
    params.text("tax_code")
    return Product(new_id("prod"), world.clock.now(), name, params.text("description"), params.metadata())
