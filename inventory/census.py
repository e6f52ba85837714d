"""How many holds are active, shop by shop: what no process can count, and only the database knows."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from inventory.engine import fetch

# Along the index of the active holds: 4 ms for 5,000 of them, beside half a million that have ended.
_ACTIVE = """
WITH shop AS (
  SELECT "shopId" AS name, count(*) AS active,
         count(*) FILTER (WHERE "expiresAt" < now() - interval '1 minute') AS overdue
  FROM "InventoryHold" WHERE status = 'active' GROUP BY 1
), ranked AS (SELECT *, row_number() OVER (ORDER BY active DESC, name) AS place FROM shop)
SELECT CASE WHEN place <= %(limit)s THEN name ELSE 'other' END AS shop,
       sum(active)::bigint AS active, sum(overdue)::bigint AS overdue
FROM ranked GROUP BY 1
"""


@dataclass(frozen=True, slots=True)
class ActiveHolds:
    """The active holds of a shop, and those of them that should have ended more than a minute ago."""

    active: int
    overdue: int


async def active_holds(engine: AsyncEngine, limit: int) -> Mapping[str, ActiveHolds]:
    """Return the shops with the most active holds, by name; `other`, which is always there, has all the rest.

    Raises DatabaseBusyError and DatabaseUnavailableError.
    """
    rows = await fetch(engine, _ACTIVE, {"limit": limit})
    return {"other": ActiveHolds(0, 0)} | {row["shop"]: ActiveHolds(row["active"], row["overdue"]) for row in rows}
