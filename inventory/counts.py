"""Setting items by count: staff say what is on hand, and what holds have is never touched by it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from psycopg.types.json import Jsonb
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.database import fetch, fetch_on
from core.transactions import in_transaction
from inventory.items import ITEM_COLUMNS, Item, item_from


class Keep:
    """The type of KEEP."""

    def __repr__(self) -> str:
        return "KEEP"


KEEP = Keep()
"""A field that the request did not name: it keeps its value. None clears it."""


@dataclass(frozen=True, slots=True)
class ItemCount:
    """What staff say of one item: its count on hand, 0 to 1,000,000,000, and any of its other fields."""

    sku: str
    variant_key: str
    on_hand: int
    product_id: str | Keep | None = KEEP
    variant_attributes: Mapping[str, object] | Keep | None = KEEP
    low_stock_threshold: int | Keep | None = KEEP
    retired: bool | Keep = KEEP


@dataclass(frozen=True, slots=True)
class BelowHeld:
    """An item that was to have less than what active holds have of it."""

    sku: str
    variant_key: str
    on_hand: int
    """What was asked for."""
    held: int
    holds: tuple[str, ...] = ()
    """The oldest of its active holds, NAMED_HOLDS at most."""


class CountBelowHeldError(Exception):
    """A count was lower than what is held. Nothing was changed."""

    def __init__(self, items: Sequence[BelowHeld]) -> None:
        super().__init__("counted below what is held")
        self.items = tuple(items)


class _MadeMeanwhileError(Exception):
    """Somebody made one of the new items between the look and the insert."""


NAMED_HOLDS = 10

_HOLDS_OF = """
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

# Existing rows are locked in key order before anything is written; new ones are inserted in the same order.
_COUNT = f"""
WITH given AS MATERIALIZED (
  SELECT * FROM unnest(%(skus)s::text[], %(variants)s::text[], %(counts)s::int[], %(products)s::text[],
    %(keep_product)s::bool[], %(attributes)s::jsonb[], %(keep_attributes)s::bool[], %(thresholds)s::int[],
    %(keep_threshold)s::bool[], %(retired)s::bool[])
    AS g(sku, "variantKey", n, product, keep_product, attributes, keep_attributes, threshold, keep_threshold, retired)
), locked AS MATERIALIZED (
  SELECT i.sku, i."variantKey", i.quantity, i.held, g.n, g.product, g.keep_product, g.attributes, g.keep_attributes,
         g.threshold, g.keep_threshold, g.retired
  FROM "InventoryItem" i JOIN given g ON i.sku = g.sku AND i."variantKey" = g."variantKey"
  WHERE i."shopId" = %(shop)s
  ORDER BY i.sku, i."variantKey"
  FOR NO KEY UPDATE OF i
), verdict AS MATERIALIZED (
  SELECT coalesce(bool_and(n >= held), true) AS ok FROM locked
), made AS (
  INSERT INTO "InventoryItem" ("shopId", sku, "variantKey", "productId", "variantAttributes", quantity,
                               "lowStockThreshold", "retiredAt")
  SELECT %(shop)s, g.sku, g."variantKey", g.product, g.attributes, g.n, g.threshold, CASE WHEN g.retired THEN now() END
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
      "retiredAt" = CASE WHEN coalesce(l.retired, i."retiredAt" IS NOT NULL) THEN coalesce(i."retiredAt", now()) END
  FROM locked l CROSS JOIN verdict v
  WHERE v.ok AND i."shopId" = %(shop)s AND i.sku = l.sku AND i."variantKey" = l."variantKey"
  RETURNING i."shopId", i.sku, i."variantKey", i."productId", i."variantAttributes", i.quantity, i.held,
            i."lowStockThreshold", i."updatedAt", i."retiredAt", l.n - (l.quantity + l.held) AS delta
), written AS (
  SELECT * FROM made UNION ALL SELECT * FROM moved
), ledger AS (
  INSERT INTO "InventoryMovement" ("shopId", sku, "variantKey", kind, delta, "onHand", actor, reason)
  SELECT "shopId", sku, "variantKey", 'count', delta, quantity + held, %(actor)s, %(reason)s
  FROM written WHERE delta <> 0
)
SELECT {ITEM_COLUMNS}, true AS ok FROM written
UNION ALL
SELECT %(shop)s, sku, "variantKey", NULL, NULL, n, held, NULL, NULL, NULL, false FROM locked
WHERE n < held
ORDER BY sku, "variantKey"
"""  # noqa: S608 - constants


def _given(value: object) -> object:
    return None if isinstance(value, Keep) else value


async def count_items(
    engine: AsyncEngine, shop_id: str, counts: Sequence[ItemCount], *, actor: str, reason: str | None = None
) -> list[Item]:
    """Set what is on hand of each item, all or none, making the items that are new. Each item may be named once.

    May be repeated. Raises CountBelowHeldError, DatabaseBusyError and DatabaseUnavailableError.
    """
    if len({(count.sku, count.variant_key) for count in counts}) < len(counts):
        raise ValueError("an item is counted twice: which of the two counts should it have?")
    attributes = [_given(count.variant_attributes) for count in counts]
    parameters = {
        "shop": shop_id,
        "actor": actor,
        "reason": reason,
        "skus": [count.sku for count in counts],
        "variants": [count.variant_key for count in counts],
        "counts": [count.on_hand for count in counts],
        "products": [_given(count.product_id) for count in counts],
        "keep_product": [count.product_id is KEEP for count in counts],
        "attributes": [None if value is None else Jsonb(value) for value in attributes],
        "keep_attributes": [count.variant_attributes is KEEP for count in counts],
        "thresholds": [_given(count.low_stock_threshold) for count in counts],
        "keep_threshold": [count.low_stock_threshold is KEEP for count in counts],
        "retired": [_given(count.retired) for count in counts],
    }

    async def count(connection: AsyncConnection) -> list[Item]:
        rows = await fetch_on(connection, _COUNT, parameters)
        if refused := [row for row in rows if not row["ok"]]:
            raise CountBelowHeldError(
                [BelowHeld(row["sku"], row["variantKey"], row["quantity"], row["held"]) for row in refused]
            )
        if len(rows) < len(counts):
            raise _MadeMeanwhileError
        return [item_from(row) for row in rows]

    while True:
        try:
            return await in_transaction(engine, count)
        except _MadeMeanwhileError:  # begin again: now the new item is there to be locked
            continue
        except CountBelowHeldError as error:
            raise CountBelowHeldError(await with_their_holds(engine, shop_id, error.items)) from None


async def with_their_holds(engine: AsyncEngine, shop_id: str, items: Sequence[BelowHeld]) -> list[BelowHeld]:
    """Return the items, each with the oldest of the active holds that have it."""
    names = {"skus": [item.sku for item in items], "variants": [item.variant_key for item in items]}
    rows = await fetch(engine, _HOLDS_OF, {"shop": shop_id, "most": NAMED_HOLDS, **names})
    holds = {(row["sku"], row["variantKey"]): tuple(row["holds"]) for row in rows}
    return [replace(item, holds=holds.get((item.sku, item.variant_key), ())) for item in items]
