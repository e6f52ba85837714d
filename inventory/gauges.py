"""Numbers of active and overdue holds by shop, for metrics: only the database knows them."""

from collections.abc import Mapping

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch
from domain.smoke import SMOKE_SHOP

OVERDUE_LIMIT = 10_000
"""The most overdue holds that are counted, the oldest first."""

_BY_SHOP = """
WITH hold AS ({holds}),
shop AS (SELECT "shopId" AS name, count(*) AS holds FROM hold GROUP BY 1),
ranked AS (SELECT *, row_number() OVER (ORDER BY holds DESC, name) AS place FROM shop)
SELECT CASE WHEN place <= %(shops)s THEN name ELSE 'other' END AS shop, sum(holds)::bigint AS holds
FROM ranked GROUP BY 1
"""

_BUSINESS = f"""status = 'active' AND "shopId" <> '{SMOKE_SHOP}'"""

# Reads the index of active holds: 4 ms for 5,000 of them in a table with half a million ended ones.
_ACTIVE = _BY_SHOP.format(holds=f'SELECT "shopId" FROM "InventoryHold" WHERE {_BUSINESS}')  # noqa: S608 - constants

# Reads that index from its start, so that the cost depends on the number of overdue holds only.
_OVERDUE = _BY_SHOP.format(
    holds=f"""
SELECT "shopId" FROM "InventoryHold" WHERE {_BUSINESS} AND "expiresAt" < now() - interval '1 minute'
ORDER BY "expiresAt" LIMIT %(holds)s
"""  # noqa: S608 - constants
)


async def active_holds(engine: AsyncEngine, shops: int) -> Mapping[str, int]:
    """Return the numbers of active holds by shop: of the `shops` with the most, and `other` for all the rest.

    `other` is always present. Raises DatabaseBusyError, also where counting takes too long, and
    DatabaseUnavailableError.
    """
    return await _count(engine, _ACTIVE, {"shops": shops})


async def overdue_holds(engine: AsyncEngine, shops: int) -> Mapping[str, int]:
    """Return the same of the holds whose deadline passed more than a minute ago, OVERDUE_LIMIT of them at most.

    Raises DatabaseBusyError and DatabaseUnavailableError.
    """
    return await _count(engine, _OVERDUE, {"shops": shops, "holds": OVERDUE_LIMIT})


async def _count(engine: AsyncEngine, statement: str, limits: Mapping[str, int]) -> Mapping[str, int]:
    rows = await fetch(engine, statement, limits)
    return {"other": 0} | {row["shop"]: row["holds"] for row in rows}
