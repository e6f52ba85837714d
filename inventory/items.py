"""Items: what can be sold of what, and what is held of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch
from domain.holds import Line, ShortItem
from inventory.holds import lines_as_arrays

MAX_ON_HAND = 1_000_000_000
"""The most units of an item: what is on hand stays far from what the column can hold."""


@dataclass(frozen=True, slots=True)
class Item:
    """An item's stock. `quantity` can be sold now, `held` is in active holds; on hand is their sum."""

    shop_id: str
    sku: str
    variant_key: str
    product_id: str | None
    variant_attributes: Mapping[str, object] | None
    quantity: int
    held: int
    low_stock_threshold: int | None
    updated_at: datetime
    retired_at: datetime | None
    """Since when no new hold can have it. Its active holds go on, and its stock counts as before."""

    @property
    def on_hand(self) -> int:
        """What is in the house: sellable and held."""
        return self.quantity + self.held


ITEM_COLUMNS = """
  "shopId", sku, "variantKey", "productId", "variantAttributes", quantity, held, "lowStockThreshold", "updatedAt",
  "retiredAt"
"""
"""What `item_from` reads."""

_LIST = f"""
SELECT {ITEM_COLUMNS} FROM "InventoryItem"
WHERE "shopId" = %(shop)s AND (%(sku)s::text IS NULL OR sku = %(sku)s)
  AND (NOT %(low)s OR quantity <= "lowStockThreshold" AND "retiredAt" IS NULL)
  AND (%(retired)s::bool IS NULL OR %(retired)s = ("retiredAt" IS NOT NULL))
  AND (%(after_sku)s::text IS NULL OR (sku, "variantKey") > (%(after_sku)s, %(after_variant)s))
ORDER BY sku, "variantKey" LIMIT %(limit)s
"""  # noqa: S608 - constants

_SHORT = """
SELECT d.sku, d."variantKey", d.requested, coalesce(i.quantity, 0) AS available, i.known IS NOT NULL AS known
FROM (
  SELECT sku, "variantKey", sum(quantity) AS requested
  FROM unnest(%(skus)s::text[], %(variants)s::text[], %(quantities)s::int[]) AS line(sku, "variantKey", quantity)
  GROUP BY sku, "variantKey"
) d
LEFT JOIN (
  SELECT sku, "variantKey", CASE WHEN "retiredAt" IS NULL THEN quantity ELSE 0 END AS quantity, true AS known
  FROM "InventoryItem" WHERE "shopId" = %(shop)s
) i ON i.sku = d.sku AND i."variantKey" = d."variantKey"
WHERE coalesce(i.quantity, 0) < d.requested
ORDER BY d.sku, d."variantKey"
"""


def item_from(row: Mapping[Any, Any]) -> Item:
    """Translate a row that has ITEM_COLUMNS, or the object that Postgres's to_jsonb makes of one."""
    return Item(
        shop_id=row["shopId"],
        sku=row["sku"],
        variant_key=row["variantKey"],
        product_id=row["productId"],
        variant_attributes=row["variantAttributes"],
        quantity=row["quantity"],
        held=row["held"],
        low_stock_threshold=row["lowStockThreshold"],
        updated_at=_time(row["updatedAt"]),
        retired_at=None if row["retiredAt"] is None else _time(row["retiredAt"]),
    )


def _time(value: datetime | str) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


async def list_items(
    engine: AsyncEngine,
    shop_id: str,
    *,
    sku: str | None = None,
    low_stock: bool = False,
    retired: bool | None = None,
    limit: int = 100,
    after: tuple[str, str] | None = None,
) -> tuple[list[Item], tuple[str, str] | None]:
    """Return the shop's items by sku and variant, beginning behind `after`, and the next page's `after` if any.

    `low_stock`: only what is at or below its threshold and not retired. `retired`: only what is, or is not.
    """
    after_sku, after_variant = after or (None, None)
    parameters = {
        "shop": shop_id,
        "sku": sku,
        "low": low_stock,
        "retired": retired,
        "after_sku": after_sku,
        "after_variant": after_variant,
        "limit": limit + 1,
    }
    items = [item_from(row) for row in await fetch(engine, _LIST, parameters)]
    page = items[:limit]
    return page, (page[-1].sku, page[-1].variant_key) if len(items) > limit else None


async def read_short(engine: AsyncEngine, shop_id: str, lines: Sequence[Line]) -> tuple[ShortItem, ...]:
    """Return every item of which less can be sold now than the lines ask for, once, with its true figure."""
    rows = await fetch(engine, _SHORT, {"shop": shop_id, **lines_as_arrays(lines)})
    return tuple(
        ShortItem(row["sku"], row["variantKey"], int(row["requested"]), row["available"], row["known"]) for row in rows
    )
