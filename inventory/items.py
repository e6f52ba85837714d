"""Items: what can be sold of what. Staff set them by count; what holds have is never touched by it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.types.json import Jsonb
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncEngine

from inventory.engine import DatabaseBusyError, Row, fetch, fetch_on, translated
from inventory.holds import Line, lines_as_arrays
from inventory.reserve import ShortItem


class Keep:
    """The type of KEEP."""

    def __repr__(self) -> str:
        return "KEEP"


KEEP = Keep()
"""A field that the request did not name: it keeps its value. None clears it."""


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

    @property
    def on_hand(self) -> int:
        """What is in the house: sellable and held."""
        return self.quantity + self.held


@dataclass(frozen=True, slots=True)
class ItemCount:
    """What staff say of one item: its count on hand, 0 to 1,000,000,000, and any of its other fields."""

    sku: str
    variant_key: str
    on_hand: int
    product_id: str | Keep | None = KEEP
    variant_attributes: Mapping[str, object] | Keep | None = KEEP
    low_stock_threshold: int | Keep | None = KEEP


@dataclass(frozen=True, slots=True)
class BelowHeld:
    """An item that was counted lower than what active holds have of it."""

    sku: str
    variant_key: str
    on_hand: int
    held: int


class CountBelowHeldError(Exception):
    """A count was lower than what is held. Nothing was changed."""

    def __init__(self, items: Sequence[BelowHeld]) -> None:
        super().__init__("counted below what is held")
        self.items = tuple(items)


_COLUMNS = """
  "shopId", sku, "variantKey", "productId", "variantAttributes", quantity, held, "lowStockThreshold", "updatedAt"
"""

# Existing rows are locked in key order before anything is written; new ones are inserted in the same order.
_COUNT = f"""
WITH given AS MATERIALIZED (
  SELECT * FROM unnest(%(skus)s::text[], %(variants)s::text[], %(counts)s::int[], %(products)s::text[],
    %(keep_product)s::bool[], %(attributes)s::jsonb[], %(keep_attributes)s::bool[], %(thresholds)s::int[],
    %(keep_threshold)s::bool[])
    AS g(sku, "variantKey", n, product, keep_product, attributes, keep_attributes, threshold, keep_threshold)
), locked AS MATERIALIZED (
  SELECT i.sku, i."variantKey", i.quantity, i.held, g.n, g.product, g.keep_product, g.attributes, g.keep_attributes,
         g.threshold, g.keep_threshold
  FROM "InventoryItem" i JOIN given g ON i.sku = g.sku AND i."variantKey" = g."variantKey"
  WHERE i."shopId" = %(shop)s
  ORDER BY i.sku, i."variantKey"
  FOR NO KEY UPDATE OF i
), verdict AS MATERIALIZED (
  SELECT coalesce(bool_and(n >= held), true) AS ok FROM locked
), made AS (
  INSERT INTO "InventoryItem" ("shopId", sku, "variantKey", "productId", "variantAttributes", quantity,
                               "lowStockThreshold")
  SELECT %(shop)s, g.sku, g."variantKey", g.product, g.attributes, g.n, g.threshold
  FROM given g CROSS JOIN verdict v
  WHERE v.ok AND NOT EXISTS (SELECT FROM locked l WHERE l.sku = g.sku AND l."variantKey" = g."variantKey")
  ORDER BY g.sku, g."variantKey"
  ON CONFLICT DO NOTHING
  RETURNING {_COLUMNS}, quantity AS delta
), moved AS (
  UPDATE "InventoryItem" i
  SET quantity = l.n - l.held, held = l.held, "updatedAt" = now(),
      "productId" = CASE WHEN l.keep_product THEN i."productId" ELSE l.product END,
      "variantAttributes" = CASE WHEN l.keep_attributes THEN i."variantAttributes" ELSE l.attributes END,
      "lowStockThreshold" = CASE WHEN l.keep_threshold THEN i."lowStockThreshold" ELSE l.threshold END
  FROM locked l CROSS JOIN verdict v
  WHERE v.ok AND i."shopId" = %(shop)s AND i.sku = l.sku AND i."variantKey" = l."variantKey"
  RETURNING i."shopId", i.sku, i."variantKey", i."productId", i."variantAttributes", i.quantity, i.held,
            i."lowStockThreshold", i."updatedAt", l.n - (l.quantity + l.held) AS delta
), written AS (
  SELECT * FROM made UNION ALL SELECT * FROM moved
), ledger AS (
  INSERT INTO "InventoryMovement" ("shopId", sku, "variantKey", kind, delta, "onHand", actor)
  SELECT "shopId", sku, "variantKey", 'count', delta, quantity + held, %(actor)s FROM written WHERE delta <> 0
)
SELECT {_COLUMNS}, true AS ok FROM written
UNION ALL
SELECT %(shop)s, sku, "variantKey", NULL, NULL, n, held, NULL, NULL, false FROM locked
WHERE n < held
ORDER BY sku, "variantKey"
"""  # noqa: S608 - constants

_LIST = f"""
SELECT {_COLUMNS} FROM "InventoryItem"
WHERE "shopId" = %(shop)s AND (%(sku)s::text IS NULL OR sku = %(sku)s)
  AND (NOT %(low)s OR quantity <= "lowStockThreshold")
  AND (%(after_sku)s::text IS NULL OR (sku, "variantKey") > (%(after_sku)s, %(after_variant)s))
ORDER BY sku, "variantKey" LIMIT %(limit)s
"""  # noqa: S608 - constants

_SHORT = """
SELECT d.sku, d."variantKey", d.requested, coalesce(i.quantity, 0) AS available, i.sku IS NOT NULL AS known
FROM (
  SELECT sku, "variantKey", sum(quantity) AS requested
  FROM unnest(%(skus)s::text[], %(variants)s::text[], %(quantities)s::int[]) AS line(sku, "variantKey", quantity)
  GROUP BY sku, "variantKey"
) d
LEFT JOIN "InventoryItem" i ON i."shopId" = %(shop)s AND i.sku = d.sku AND i."variantKey" = d."variantKey"
WHERE coalesce(i.quantity, 0) < d.requested
ORDER BY d.sku, d."variantKey"
"""


def _item_from(row: Row) -> Item:
    return Item(
        shop_id=row["shopId"],
        sku=row["sku"],
        variant_key=row["variantKey"],
        product_id=row["productId"],
        variant_attributes=row["variantAttributes"],
        quantity=row["quantity"],
        held=row["held"],
        low_stock_threshold=row["lowStockThreshold"],
        updated_at=row["updatedAt"],
    )


def _given(value: object) -> object:
    return None if isinstance(value, Keep) else value


async def count_items(engine: AsyncEngine, shop_id: str, counts: Sequence[ItemCount], *, actor: str) -> list[Item]:
    """Set what is on hand of each item, all or none, making the items that are new. Each item may be named once.

    May be repeated. Raises CountBelowHeldError, DatabaseBusyError and DatabaseUnavailableError.
    """
    attributes = [_given(count.variant_attributes) for count in counts]
    parameters = {
        "shop": shop_id,
        "actor": actor,
        "skus": [count.sku for count in counts],
        "variants": [count.variant_key for count in counts],
        "counts": [count.on_hand for count in counts],
        "products": [_given(count.product_id) for count in counts],
        "keep_product": [count.product_id is KEEP for count in counts],
        "attributes": [None if value is None else Jsonb(value) for value in attributes],
        "keep_attributes": [count.variant_attributes is KEEP for count in counts],
        "thresholds": [_given(count.low_stock_threshold) for count in counts],
        "keep_threshold": [count.low_stock_threshold is KEEP for count in counts],
    }
    repeated = False
    while True:
        try:
            return await _count(engine, parameters, expected=len(counts))
        except exc.DBAPIError as error:
            # Of the connections that died with a restarted server the pool gives one only: the next is new.
            if repeated or not error.connection_invalidated:
                raise translated(error) from error.orig
            repeated = True
        except exc.TimeoutError as error:
            raise DatabaseBusyError("every connection of this process is in use") from error


async def _count(engine: AsyncEngine, parameters: Mapping[str, object], *, expected: int) -> list[Item]:
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="READ COMMITTED")
        while True:
            async with connection.begin() as transaction:
                rows = await fetch_on(connection, _COUNT, parameters)
                if refused := [row for row in rows if not row["ok"]]:
                    raise CountBelowHeldError(
                        [BelowHeld(row["sku"], row["variantKey"], row["quantity"], row["held"]) for row in refused]
                    )
                if len(rows) == expected:
                    return [_item_from(row) for row in rows]
                # Somebody made one of the new items meanwhile: begin again, now it is there to be locked.
                await transaction.rollback()


async def list_items(
    engine: AsyncEngine,
    shop_id: str,
    *,
    sku: str | None = None,
    low_stock: bool = False,
    limit: int = 100,
    after: tuple[str, str] | None = None,
) -> tuple[list[Item], tuple[str, str] | None]:
    """Return the shop's items by sku and variant, beginning behind `after`, and the next page's `after` if any."""
    after_sku, after_variant = after or (None, None)
    parameters = {
        "shop": shop_id,
        "sku": sku,
        "low": low_stock,
        "after_sku": after_sku,
        "after_variant": after_variant,
        "limit": limit + 1,
    }
    items = [_item_from(row) for row in await fetch(engine, _LIST, parameters)]
    page = items[:limit]
    return page, (page[-1].sku, page[-1].variant_key) if len(items) > limit else None


async def read_short(engine: AsyncEngine, shop_id: str, lines: Sequence[Line]) -> tuple[ShortItem, ...]:
    """Return every item of which less can be sold now than the lines ask for, once, with its true figure."""
    rows = await fetch(engine, _SHORT, {"shop": shop_id, **lines_as_arrays(lines)})
    return tuple(
        ShortItem(row["sku"], row["variantKey"], int(row["requested"]), row["available"], row["known"]) for row in rows
    )
