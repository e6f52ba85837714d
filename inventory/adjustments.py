"""Adjusting items by a difference. Each adjustment is made once for its idempotency key."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import Row, fetch
from domain.fields import MAX_ON_HAND
from inventory.blocking_holds import oldest_holds
from inventory.errors import (
    BelowZero,
    StockAboveLimitError,
    StockBelowZeroError,
    StockError,
    UnknownItemsError,
)
from inventory.idempotency import STORED_RESULT, key_or_new, request_hash, result_of_repeat
from inventory.items import ITEM_COLUMNS, Item, ItemName, item_from_row, name_from_row


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A change of an item's units on hand by `delta`, which is not 0, and the reason for it."""

    sku: str
    variant_key: str
    delta: int
    reason: str

    @property
    def name(self) -> ItemName:
        """Identifies the item within its shop."""
        return ItemName(self.sku, self.variant_key)


# The key is claimed after the item locks and only where the adjustment can be made, so that a refusal does not use up
# the key. Of two statements with one key, the second waits at the claim until the first commits, inserts no row and
# so changes nothing.
_ADJUST = f"""
WITH given AS MATERIALIZED (
  SELECT * FROM unnest(%(skus)s::text[], %(variants)s::text[], %(deltas)s::int[], %(reasons)s::text[])
    AS g(sku, "variantKey", delta, reason)
), locked AS MATERIALIZED (
  SELECT i."shopId", i.sku, i."variantKey", i."productId", i."variantAttributes", i.quantity AS available, i.held,
         i."lowStockThreshold", i."retiredAt", i.name, i."maxPerOrder", i."maxPerBuyer", g.delta, g.reason
  FROM "InventoryItem" i JOIN given g ON i.sku = g.sku AND i."variantKey" = g."variantKey"
  WHERE i."shopId" = %(shop)s
  ORDER BY i.sku, i."variantKey"
  FOR NO KEY UPDATE OF i
), after AS MATERIALIZED (
  SELECT *, available::bigint + delta AS quantity, now() AS "updatedAt" FROM locked
), verdict AS MATERIALIZED (
  SELECT count(*) = (SELECT count(*) FROM given) AND bool_and(quantity >= 0 AND quantity + held <= %(most)s) AS ok
  FROM after
), claim AS (
  INSERT INTO "InventoryCorrection" ("shopId", "idempotencyKey", "requestHash", answer)
  SELECT %(shop)s, %(key)s, %(hash)s,
         (SELECT jsonb_agg(to_jsonb(i) ORDER BY i.sku, i."variantKey") FROM (SELECT {ITEM_COLUMNS} FROM after) i)
  FROM verdict WHERE ok
  ON CONFLICT DO NOTHING
  RETURNING 1
), moved AS (
  UPDATE "InventoryItem" i SET quantity = a.quantity, held = a.held, "updatedAt" = a."updatedAt"
  FROM after a CROSS JOIN claim
  WHERE i."shopId" = %(shop)s AND i.sku = a.sku AND i."variantKey" = a."variantKey"
), ledger AS (
  INSERT INTO "InventoryMovement" ("shopId", sku, "variantKey", kind, delta, "onHand", actor, reason, "idempotencyKey")
  SELECT %(shop)s, sku, "variantKey", 'adjust', delta, quantity + held, %(actor)s, reason, %(given_key)s
  FROM after CROSS JOIN claim ORDER BY sku, "variantKey"
)
SELECT {ITEM_COLUMNS}, available, delta, EXISTS (SELECT FROM claim) AS done FROM after ORDER BY sku, "variantKey"
"""  # noqa: S608 - constants


async def adjust_items(
    engine: AsyncEngine, shop_id: str, adjustments: Sequence[Adjustment], *, actor: str, key: str | None = None
) -> list[Item]:
    """Change the units on hand of each item by its delta, all or none. Each item may be named once.

    Repeated with the same `key` and adjustments it changes nothing and returns the first call's items, as they were
    then. Without a key each call is another adjustment. Raises UnknownItemsError, StockBelowZeroError,
    StockAboveLimitError, KeyReusedError, DatabaseBusyError and DatabaseUnavailableError (it may have been done).
    """
    if len({each.name for each in adjustments}) < len(adjustments):
        raise ValueError("an item is named twice")
    ordered = sorted(adjustments, key=lambda each: each.name)
    digest = request_hash("adjust", [[each.sku, each.variant_key, each.delta, each.reason] for each in ordered])
    parameters = {
        "shop": shop_id,
        "key": key_or_new(key),
        "given_key": key,
        "hash": digest,
        "actor": actor,
        "most": MAX_ON_HAND,
        "skus": [each.sku for each in ordered],
        "variants": [each.variant_key for each in ordered],
        "deltas": [each.delta for each in ordered],
        "reasons": [each.reason for each in ordered],
    }
    while True:
        rows = await fetch(engine, _ADJUST, parameters)
        if rows and rows[0]["done"]:
            return [item_from_row(row) for row in rows]
        # A new statement sees more: a concurrent request with this key may have made this very adjustment.
        if stored := await fetch(engine, STORED_RESULT, parameters):
            items = result_of_repeat(stored[0], digest)
            assert isinstance(items, list)  # noqa: S101 - as _ADJUST stores it
            return [item_from_row(item) for item in items]
        if refusal := await _refusal(engine, shop_id, ordered, rows):
            raise refusal


async def _refusal(
    engine: AsyncEngine, shop_id: str, adjustments: Sequence[Adjustment], rows: Sequence[Row]
) -> StockError | None:
    """Return why the adjustments cannot be made, by the locked rows. None where nothing prevents them: try again."""
    found = {name_from_row(row) for row in rows}
    if unknown := [each.name for each in adjustments if each.name not in found]:
        return UnknownItemsError(unknown)
    if below := [row for row in rows if row["quantity"] < 0]:
        holds = await oldest_holds(engine, shop_id, map(name_from_row, below))
        return StockBelowZeroError(
            [
                BelowZero(*name_from_row(row), row["delta"], row["available"], row["held"], holds[name_from_row(row)])
                for row in below
            ]
        )
    if above := [row for row in rows if row["quantity"] + row["held"] > MAX_ON_HAND]:
        return StockAboveLimitError([name_from_row(row) for row in above])
    return None
