"""Which shops the database knows."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch

_IS_KNOWN = """
SELECT EXISTS (SELECT FROM "InventoryItem" WHERE "shopId" = %(shop)s)
    OR EXISTS (SELECT FROM "InventoryHold" WHERE "shopId" = %(shop)s) AS known
"""
_SHOPS = 'SELECT DISTINCT "shopId" FROM "InventoryItem" ORDER BY "shopId" LIMIT %(limit)s'


async def is_known_shop(engine: AsyncEngine, shop_id: str) -> bool:
    """Whether the shop has an item or a hold. Raises DatabaseBusyError and DatabaseUnavailableError."""
    return bool((await fetch(engine, _IS_KNOWN, {"shop": shop_id}))[0]["known"])


async def list_shops(engine: AsyncEngine, limit: int) -> Sequence[str]:
    """Return the ids of the first shops that have items. Raises DatabaseBusyError and DatabaseUnavailableError."""
    return [row["shopId"] for row in await fetch(engine, _SHOPS, {"limit": limit})]
