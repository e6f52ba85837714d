"""Corrections of stock by a difference: each is made once for its key, and its answer is kept with it."""

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import Row, fetch
from inventory.counts import BelowHeld, with_their_holds
from inventory.items import ITEM_COLUMNS, MAX_ON_HAND, Item, item_from


@dataclass(frozen=True, slots=True)
class Adjustment:
    """By how many units an item's stock differs from what the records say, and why. `delta` is not 0."""

    sku: str
    variant_key: str
    delta: int
    reason: str


@dataclass(frozen=True, slots=True)
class BelowZero:
    """An item of which more was to be taken away than can be sold: `quantity`. What is held stays held."""

    sku: str
    variant_key: str
    delta: int
    quantity: int
    held: int
    holds: tuple[str, ...]
    """The oldest of its active holds, ten at most."""


@dataclass(frozen=True, slots=True)
class ItemName:
    """By what an item is known within its shop."""

    sku: str
    variant_key: str


class StockBelowZeroError(Exception):
    """More was to be taken away than can be sold. Nothing was changed."""

    def __init__(self, items: Sequence[BelowZero]) -> None:
        super().__init__("less can be sold than was to be taken away")
        self.items = tuple(items)


class UnknownItemsError(Exception):
    """The shop has no such items. Nothing was changed."""

    def __init__(self, items: Sequence[ItemName]) -> None:
        super().__init__("the shop has no such items")
        self.items = tuple(items)


class AboveLimitError(Exception):
    """Items would have more than MAX_ON_HAND units on hand. Nothing was changed."""

    def __init__(self, items: Sequence[ItemName]) -> None:
        super().__init__(f"more than {MAX_ON_HAND:,} units on hand")
        self.items = tuple(items)


class KeyUsedError(Exception):
    """The key was used for another correction of the shop. Nothing was changed."""


REMEMBERED = """
SELECT "requestHash", answer FROM "InventoryCorrection" WHERE "shopId" = %(shop)s AND "idempotencyKey" = %(key)s
"""

# The claim comes after the item locks and only where the correction can be made: a refusal is not remembered. Of two
# with one key the second waits at the claim until the first has committed, makes none, and so moves nothing.
_ADJUST = f"""
WITH given AS MATERIALIZED (
  SELECT * FROM unnest(%(skus)s::text[], %(variants)s::text[], %(deltas)s::int[], %(reasons)s::text[])
    AS g(sku, "variantKey", delta, reason)
), locked AS MATERIALIZED (
  SELECT i."shopId", i.sku, i."variantKey", i."productId", i."variantAttributes", i.quantity AS sellable, i.held,
         i."lowStockThreshold", i."retiredAt", g.delta, g.reason
  FROM "InventoryItem" i JOIN given g ON i.sku = g.sku AND i."variantKey" = g."variantKey"
  WHERE i."shopId" = %(shop)s
  ORDER BY i.sku, i."variantKey"
  FOR NO KEY UPDATE OF i
), after AS MATERIALIZED (
  SELECT *, sellable::bigint + delta AS quantity, now() AS "updatedAt" FROM locked
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
SELECT {ITEM_COLUMNS}, sellable, delta, EXISTS (SELECT FROM claim) AS done FROM after ORDER BY sku, "variantKey"
"""  # noqa: S608 - constants


def key_or_new(key: str | None) -> str:
    """Return the key under which a correction is kept: the caller's, or one that nobody else has.

    With one of its own, a correction that came without a key may be repeated too, when a connection breaks.
    """
    return key if key is not None else f"once:{uuid.uuid4().hex}"


def correction_hash(*request: object) -> str:
    """Return the digest by which a repeat is told from another correction with the same key."""
    return hashlib.sha256(json.dumps(request).encode()).hexdigest()


def same_request(remembered: Row, request_hash: str) -> object:
    """Return the answer that is remembered. Raises KeyUsedError where another request had the key."""
    if remembered["requestHash"] != request_hash:
        raise KeyUsedError
    return remembered["answer"]


async def adjust_items(
    engine: AsyncEngine, shop_id: str, adjustments: Sequence[Adjustment], *, actor: str, key: str | None = None
) -> list[Item]:
    """Change what is on hand of each item by its difference, all or none. Each item may be named once.

    Repeated with the same `key` and adjustments it returns the same items, as they were then, and changes nothing.
    Without a key each call is a correction of its own. Raises StockBelowZeroError, UnknownItemsError, AboveLimitError,
    KeyUsedError, DatabaseBusyError and DatabaseUnavailableError (it may have been done).
    """
    if len({(each.sku, each.variant_key) for each in adjustments}) < len(adjustments):
        raise ValueError("an item is named twice")
    ordered = sorted(adjustments, key=lambda each: (each.sku, each.variant_key))
    request_hash = correction_hash(
        "adjust", [[each.sku, each.variant_key, each.delta, each.reason] for each in ordered]
    )
    parameters = {
        "shop": shop_id,
        "key": key_or_new(key),
        "given_key": key,
        "hash": request_hash,
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
            return [item_from(row) for row in rows]
        # A new statement, with a new snapshot: the same correction, beside this one, may have taken what is missing.
        if remembered := await fetch(engine, REMEMBERED, parameters):
            answer = same_request(remembered[0], request_hash)
            assert isinstance(answer, list)  # noqa: S101 - what _ADJUST wrote
            return [item_from(item) for item in answer]
        await _raise_refusal(engine, shop_id, ordered, rows)


async def _raise_refusal(
    engine: AsyncEngine, shop_id: str, adjustments: Sequence[Adjustment], rows: Sequence[Row]
) -> None:
    """Raise what stands in the way, judged by the locked rows. Returns where nothing does: it is worth another try."""
    known = {(row["sku"], row["variantKey"]) for row in rows}
    unknown = [
        ItemName(each.sku, each.variant_key) for each in adjustments if (each.sku, each.variant_key) not in known
    ]
    if unknown:
        raise UnknownItemsError(unknown)
    if below := [row for row in rows if row["quantity"] < 0]:
        held = [BelowHeld(row["sku"], row["variantKey"], row["quantity"] + row["held"], row["held"]) for row in below]
        named = await with_their_holds(engine, shop_id, held)
        raise StockBelowZeroError(
            [
                BelowZero(row["sku"], row["variantKey"], row["delta"], row["sellable"], row["held"], item.holds)
                for row, item in zip(below, named, strict=True)
            ]
        )
    if above := [row for row in rows if row["quantity"] + row["held"] > MAX_ON_HAND]:
        raise AboveLimitError([ItemName(row["sku"], row["variantKey"]) for row in above])
