"""Setting items by count: the units on hand are set, the held units never change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg.types.json import Jsonb
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.database import Row, fetch_on
from core.transactions import in_transaction
from inventory.blocking_holds import oldest_holds
from inventory.errors import BelowHeld, CountBelowHeldError
from inventory.items import ITEM_COLUMNS, Item, item_from_row, name_from_row


class Keep:
    """The type of KEEP."""

    def __repr__(self) -> str:
        return "KEEP"


KEEP = Keep()
"""The value of a field that the request leaves out: it is not changed. None clears a field."""


@dataclass(frozen=True, slots=True)
class ItemCount:
    """One item's new units on hand, 0 to MAX_ON_HAND, and new values of its other fields."""

    sku: str
    variant_key: str
    on_hand: int
    product_id: str | Keep | None = KEEP
    variant_attributes: Mapping[str, object] | Keep | None = KEEP
    low_stock_threshold: int | Keep | None = KEEP
    retired: bool | Keep = KEEP
    name: str | Keep | None = KEEP
    max_per_order: int | Keep | None = KEEP
    max_per_buyer: int | Keep | None = KEEP


class _ItemCreatedMeanwhileError(Exception):
    """Another transaction created one of the new items between this statement's snapshot and its insert."""


# Existing rows are locked in key order before anything is written; new ones are inserted in the same order.
_COUNT = f"""
WITH given AS MATERIALIZED (
  SELECT * FROM unnest(%(skus)s::text[], %(variants)s::text[], %(counts)s::int[], %(products)s::text[],
    %(keep_product)s::bool[], %(attributes)s::jsonb[], %(keep_attributes)s::bool[], %(thresholds)s::int[],
    %(keep_threshold)s::bool[], %(retired)s::bool[], %(names)s::text[], %(keep_name)s::bool[],
    %(per_order)s::int[], %(keep_per_order)s::bool[], %(per_buyer)s::int[], %(keep_per_buyer)s::bool[])
    AS g(sku, "variantKey", n, product, keep_product, attributes, keep_attributes, threshold, keep_threshold, retired,
         name, keep_name, per_order, keep_per_order, per_buyer, keep_per_buyer)
), locked AS MATERIALIZED (
  SELECT i.sku, i."variantKey", i.quantity, i.held, g.n, g.product, g.keep_product, g.attributes, g.keep_attributes,
         g.threshold, g.keep_threshold, g.retired, g.name, g.keep_name, g.per_order, g.keep_per_order, g.per_buyer,
         g.keep_per_buyer
  FROM "InventoryItem" i JOIN given g ON i.sku = g.sku AND i."variantKey" = g."variantKey"
  WHERE i."shopId" = %(shop)s
  ORDER BY i.sku, i."variantKey"
  FOR NO KEY UPDATE OF i
), verdict AS MATERIALIZED (
  SELECT coalesce(bool_and(n >= held), true) AS ok FROM locked
), made AS (
  INSERT INTO "InventoryItem" ("shopId", sku, "variantKey", "productId", "variantAttributes", quantity,
                               "lowStockThreshold", "retiredAt", name, "maxPerOrder", "maxPerBuyer")
  SELECT %(shop)s, g.sku, g."variantKey", g.product, g.attributes, g.n, g.threshold, CASE WHEN g.retired THEN now() END,
         g.name, g.per_order, g.per_buyer
  FROM given g CROSS JOIN verdict v
  WHERE v.ok AND NOT EXISTS (SELECT FROM locked l WHERE l.sku = g.sku AND l."variantKey" = g."variantKey")
  ORDER BY g.sku, g."variantKey"
  ON CONFLICT DO NOTHING
  RETURNING {ITEM_COLUMNS}, quantity AS delta
), moved AS (
  UPDATE "InventoryItem" i
  SET quantity = l.n - l.held, held = l.held, "updatedAt" = now(),
      "productId" = CASE WHEN l.keep_product THEN i."productId" ELSE l.product END,
      "variantAttributes" = CASE WHEN l.keep_attributes THEN i."variantAttributes" ELSE l.attributes END,
      "lowStockThreshold" = CASE WHEN l.keep_threshold THEN i."lowStockThreshold" ELSE l.threshold END,
      "maxPerOrder" = CASE WHEN l.keep_per_order THEN i."maxPerOrder" ELSE l.per_order END,
      "maxPerBuyer" = CASE WHEN l.keep_per_buyer THEN i."maxPerBuyer" ELSE l.per_buyer END,
      "retiredAt" = CASE WHEN coalesce(l.retired, i."retiredAt" IS NOT NULL) THEN coalesce(i."retiredAt", now()) END,
      name = CASE WHEN l.keep_name THEN i.name ELSE l.name END
  FROM locked l CROSS JOIN verdict v
  WHERE v.ok AND i."shopId" = %(shop)s AND i.sku = l.sku AND i."variantKey" = l."variantKey"
  RETURNING i."shopId", i.sku, i."variantKey", i."productId", i."variantAttributes", i.quantity, i.held,
            i."lowStockThreshold", i."updatedAt", i."retiredAt", i.name, i."maxPerOrder", i."maxPerBuyer",
            l.n - (l.quantity + l.held) AS delta
), written AS (
  SELECT * FROM made UNION ALL SELECT * FROM moved
), ledger AS (
  INSERT INTO "InventoryMovement" ("shopId", sku, "variantKey", kind, delta, "onHand", actor, reason)
  SELECT "shopId", sku, "variantKey", 'count', delta, quantity + held, %(actor)s, %(reason)s
  FROM written WHERE delta <> 0
)
SELECT {ITEM_COLUMNS}, true AS ok FROM written
UNION ALL
SELECT %(shop)s, sku, "variantKey", NULL, NULL, n, held, NULL, NULL, NULL, NULL, NULL, NULL, false FROM locked
WHERE n < held
ORDER BY sku, "variantKey"
"""  # noqa: S608 - constants


async def count_items(
    engine: AsyncEngine, shop_id: str, counts: Sequence[ItemCount], *, actor: str, reason: str | None = None
) -> list[Item]:
    """Set the units on hand of each item, all or none, creating new items. Each item may be named once.

    May be repeated. Raises CountBelowHeldError, DatabaseBusyError and DatabaseUnavailableError (it may have been done).
    """
    if len({(count.sku, count.variant_key) for count in counts}) < len(counts):
        raise ValueError("an item is named twice")
    parameters = {"shop": shop_id, "actor": actor, "reason": reason, **_as_arrays(counts)}

    async def count(connection: AsyncConnection) -> Sequence[Row]:
        rows = await fetch_on(connection, _COUNT, parameters)
        if len(rows) < len(counts) and all(row["ok"] for row in rows):
            raise _ItemCreatedMeanwhileError
        return rows

    while True:
        try:
            rows = await in_transaction(engine, count)
        except _ItemCreatedMeanwhileError:  # now the item exists and can be locked
            continue
        if refused := [row for row in rows if not row["ok"]]:
            raise CountBelowHeldError(await _below_held(engine, shop_id, refused))
        return [item_from_row(row) for row in rows]


def _as_arrays(counts: Sequence[ItemCount]) -> dict[str, object]:
    attributes = [_value(count.variant_attributes) for count in counts]
    return {
        "skus": [count.sku for count in counts],
        "variants": [count.variant_key for count in counts],
        "counts": [count.on_hand for count in counts],
        "products": [_value(count.product_id) for count in counts],
        "keep_product": [count.product_id is KEEP for count in counts],
        "attributes": [None if value is None else Jsonb(value) for value in attributes],
        "keep_attributes": [count.variant_attributes is KEEP for count in counts],
        "thresholds": [_value(count.low_stock_threshold) for count in counts],
        "keep_threshold": [count.low_stock_threshold is KEEP for count in counts],
        "retired": [_value(count.retired) for count in counts],
        "names": [_value(count.name) for count in counts],
        "keep_name": [count.name is KEEP for count in counts],
        "per_order": [_value(count.max_per_order) for count in counts],
        "keep_per_order": [count.max_per_order is KEEP for count in counts],
        "per_buyer": [_value(count.max_per_buyer) for count in counts],
        "keep_per_buyer": [count.max_per_buyer is KEEP for count in counts],
    }


def _value(value: object) -> object:
    return None if isinstance(value, Keep) else value


async def _below_held(engine: AsyncEngine, shop_id: str, rows: Sequence[Row]) -> list[BelowHeld]:
    names = [name_from_row(row) for row in rows]
    holds = await oldest_holds(engine, shop_id, names)
    return [
        BelowHeld(name.sku, name.variant_key, row["quantity"], row["held"], holds[name])
        for name, row in zip(names, rows, strict=True)
    ]
