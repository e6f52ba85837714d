"""The active holds that have an item: named where a change of its stock is refused because of them."""

from collections.abc import Iterable, Mapping

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch
from inventory.items import ItemName, name_from_row

NAMED_HOLDS = 10

_OLDEST_HOLDS = """
WITH active AS MATERIALIZED (
  SELECT id, "createdAt" FROM "InventoryHold" WHERE "shopId" = %(shop)s AND status = 'active'
), ranked AS (
  SELECT n.sku, n."variantKey", a.id,
         row_number() OVER (PARTITION BY n.sku, n."variantKey" ORDER BY a."createdAt", a.id) AS rank
  FROM active a JOIN "InventoryHoldItem" l ON l."holdId" = a.id AND l."shopId" = %(shop)s
  JOIN unnest(%(skus)s::text[], %(variants)s::text[]) AS n(sku, "variantKey")
    ON l.sku = n.sku AND l."variantKey" = n."variantKey"
)
SELECT sku, "variantKey", array_agg(id ORDER BY rank) AS holds FROM ranked WHERE rank <= %(most)s
GROUP BY sku, "variantKey"
"""


async def oldest_holds(
    engine: AsyncEngine, shop_id: str, items: Iterable[ItemName]
) -> Mapping[ItemName, tuple[str, ...]]:
    """Return the ids of each item's oldest active holds, NAMED_HOLDS at most; () for an item without any."""
    names = list(items)
    parameters = {
        "shop": shop_id,
        "most": NAMED_HOLDS,
        "skus": [name.sku for name in names],
        "variants": [name.variant_key for name in names],
    }
    rows = await fetch(engine, _OLDEST_HOLDS, parameters)
    found = {name_from_row(row): tuple(row["holds"]) for row in rows}
    return {name: found.get(name, ()) for name in names}
