"""Items: the available and the held units of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import Row, fetch
from domain.holds import Line, ShortItem
from inventory.fragments import DEMAND
from inventory.holds import lines_as_arrays


class ItemName(NamedTuple):
    """Identifies an item within its shop."""

    sku: str
    variant_key: str


@dataclass(frozen=True, slots=True)
class Item:
    """An item's stock: `quantity` units are available, `held` are in active holds; `on_hand` is their sum."""

    shop_id: str
    sku: str
    variant_key: str
    product_id: str | None
    name: str | None
    """The product, in words for people."""
    variant_attributes: Mapping[str, object] | None
    quantity: int
    held: int
    low_stock_threshold: int | None
    updated_at: datetime
    retired_at: datetime | None
    """Since when no new hold can have it. Its active holds stay active, and its stock is counted as before."""
    max_per_order: int | None = None
    """The most units of it in one hold."""
    max_per_buyer: int | None = None
    """The most units of it that one buyer can have: in active holds, and sold within INVENTORY_BUYER_WINDOW_SECONDS."""

    @property
    def on_hand(self) -> int:
        """The units on hand: available and held."""
        return self.quantity + self.held

    @property
    def retired(self) -> bool:
        """Whether no new hold can have it."""
        return self.retired_at is not None


@dataclass(frozen=True, slots=True)
class ItemPage:
    """Items by sku and variant, and the item after which the next page begins (None: this was the last page)."""

    items: tuple[Item, ...]
    next_after: ItemName | None


ITEM_COLUMNS = """
  "shopId", sku, "variantKey", "productId", "variantAttributes", quantity, held, "lowStockThreshold", "updatedAt",
  "retiredAt", name, "maxPerOrder", "maxPerBuyer"
"""
"""The columns that `item_from_row` reads."""

_LIST = f"""
SELECT {ITEM_COLUMNS} FROM "InventoryItem"
WHERE "shopId" = %(shop)s AND (%(sku)s::text IS NULL OR sku = %(sku)s)
  AND (NOT %(low)s OR quantity <= "lowStockThreshold" AND "retiredAt" IS NULL)
  AND (%(retired)s::bool IS NULL OR %(retired)s = ("retiredAt" IS NOT NULL))
  AND (%(after_sku)s::text IS NULL OR (sku, "variantKey") > (%(after_sku)s, %(after_variant)s))
ORDER BY sku, "variantKey" LIMIT %(limit)s
"""  # noqa: S608 - constants

# What the caller's own active hold has is available to the caller. OFFSET 0: as in inventory/checks.py.
_SHORT = f"""
WITH own AS MATERIALIZED (
  SELECT l.sku, l."variantKey", l.quantity FROM (
    SELECT id, status FROM "InventoryHold"
    WHERE "shopId" = %(shop)s AND (id = %(hold)s::text OR reference = %(reference)s::text) OFFSET 0
  ) h JOIN "InventoryHoldItem" l ON l."shopId" = %(shop)s AND l."holdId" = h.id
  WHERE h.status = 'active'
)
SELECT * FROM (
  SELECT d.sku, d."variantKey", d.requested, i.sku IS NOT NULL AS known, i."retiredAt" IS NOT NULL AS retired,
         CASE WHEN i."retiredAt" IS NULL THEN coalesce(i.quantity, 0) ELSE 0 END + coalesce((
           SELECT sum(quantity) FROM own WHERE own.sku = d.sku AND own."variantKey" = d."variantKey"), 0) AS available
  FROM ({DEMAND}) d
  LEFT JOIN "InventoryItem" i ON i."shopId" = %(shop)s AND i.sku = d.sku AND i."variantKey" = d."variantKey"
) stock
WHERE available < requested
ORDER BY sku, "variantKey"
"""  # noqa: S608 - constants


def item_from_row(row: Mapping[Any, Any]) -> Item:
    """Return the item of a row that has ITEM_COLUMNS, or of the JSON object that to_jsonb makes of such a row."""
    return Item(
        shop_id=row["shopId"],
        sku=row["sku"],
        variant_key=row["variantKey"],
        product_id=row["productId"],
        name=row.get("name"),  # not in the answers that earlier releases kept for repeated adjustments
        variant_attributes=row["variantAttributes"],
        quantity=row["quantity"],
        held=row["held"],
        low_stock_threshold=row["lowStockThreshold"],
        updated_at=_time(row["updatedAt"]),
        retired_at=None if row["retiredAt"] is None else _time(row["retiredAt"]),
        max_per_order=row.get("maxPerOrder"),  # an adjustment of an earlier release was stored without
        max_per_buyer=row.get("maxPerBuyer"),
    )


def name_from_row(row: Row) -> ItemName:
    """Return the name of a row's item."""
    return ItemName(row["sku"], row["variantKey"])


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
    after: ItemName | None = None,
) -> ItemPage:
    """Return a page of the shop's items: those after `after`, which is the previous page's `next_after`.

    `low_stock`: only items at or below their threshold that are not retired. `retired`: only retired items, or only
    the others. Raises DatabaseBusyError and DatabaseUnavailableError.
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
    items = tuple(item_from_row(row) for row in await fetch(engine, _LIST, parameters))
    page = items[:limit]
    return ItemPage(page, ItemName(page[-1].sku, page[-1].variant_key) if len(items) > limit else None)


async def read_short(
    engine: AsyncEngine,
    shop_id: str,
    lines: Sequence[Line],
    *,
    hold_id: str | None = None,
    reference: str | None = None,
) -> tuple[ShortItem, ...]:
    """Return every item of which fewer units are available than the lines request in sum, by sku and variant.

    The units of the active holds with this id or this reference count as available.
    Raises DatabaseBusyError and DatabaseUnavailableError.
    """
    parameters = {"shop": shop_id, "hold": hold_id, "reference": reference, **lines_as_arrays(lines)}
    return tuple(
        ShortItem(
            row["sku"], row["variantKey"], int(row["requested"]), int(row["available"]), row["known"], row["retired"]
        )
        for row in await fetch(engine, _SHORT, parameters)
    )
