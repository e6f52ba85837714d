"""What a command says where nothing is found because its shop does not exist, perhaps by a typing error."""

from sqlalchemy.ext.asyncio import AsyncEngine

from inventory.shops import is_known_shop, list_shops

_MOST_SHOPS = 20


async def unknown_shop(engine: AsyncEngine, shop: str | None, what: str) -> str | None:
    """Return the line about a shop that has neither items nor holds; None if it has, or if every shop was meant."""
    if shop is None or await is_known_shop(engine, shop):
        return None
    shops = await list_shops(engine, _MOST_SHOPS + 1)
    names = [*shops[:_MOST_SHOPS], *(["…"] if len(shops) > _MOST_SHOPS else [])]
    return f"no {what} of shop {shop}; shops known: {', '.join(names) or 'none'}"
