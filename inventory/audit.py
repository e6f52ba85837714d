"""Does the stock add up? Reads that tell for every item, in batches, and the repair of those that drifted."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.database import Row, fetch, fetch_on
from core.transactions import in_transaction
from domain.holds import Hold, HoldKey, HoldStatus
from inventory.holds import COLUMNS, LINES, hold_from

BATCH = 500
"""Rows of one read: some milliseconds of Postgres, so that no checkout waits for the audit."""

_FIRST = datetime(1, 1, 1, tzinfo=UTC)

ItemKey = tuple[str, str, str]
"""shopId, sku, variantKey."""

_Subject = TypeVar("_Subject")


@dataclass(frozen=True, slots=True)
class Count:
    """An item as it is, beside what its last movement left on hand (None: it has no movement)."""

    key: ItemKey
    quantity: int
    held: int
    on_hand: int | None


@dataclass(frozen=True, slots=True)
class Drift:
    """An item whose figures do not agree, all read at one moment."""

    key: ItemKey
    quantity: int | None
    """None, as `held`, where there is no such item though active holds have lines of it."""
    held: int | None
    active: int
    """What the lines of its active holds sum up to."""
    on_hand: int | None
    """What its last movement left on hand."""

    @property
    def held_differs(self) -> bool:
        """Whether `held` is not what active holds have."""
        return self.held != self.active

    @property
    def balance_differs(self) -> bool:
        """Whether what is on hand is not what the last movement left."""
        return self.quantity is not None and self.quantity + (self.held or 0) != (self.on_hand or 0)

    @property
    def repairable(self) -> bool:
        """Whether the movements and the active holds tell what quantity and held must be."""
        return self.held is not None and self.on_hand is not None and self.on_hand >= self.active


# Row comparisons instead of «or is null», and the limit as a constant: a generic plan then begins each page where the
# last ended, by the index, and knows that it will be short.
_ACTIVE = """
SELECT {columns} FROM "InventoryHold" h
WHERE h.status = 'active' {of_shop} AND (h."expiresAt", h."shopId", h.id) > (%(at)s, %(after_shop)s, %(after_hold)s)
ORDER BY h."expiresAt", h."shopId", h.id LIMIT {limit}
"""

_COUNTS = """
SELECT i."shopId", i.sku, i."variantKey", i.quantity, i.held, m."onHand"
FROM (
  SELECT "shopId", sku, "variantKey", quantity, held FROM "InventoryItem"
  WHERE ("shopId", sku, "variantKey") > (%(after_shop)s, %(after_sku)s, %(after_variant)s) {of_shop}
  ORDER BY "shopId", sku, "variantKey" LIMIT {limit}
) i
LEFT JOIN LATERAL (
  SELECT "onHand" FROM "InventoryMovement" m
  WHERE m."shopId" = i."shopId" AND m.sku = i.sku AND m."variantKey" = i."variantKey" ORDER BY m.id DESC LIMIT 1
) m ON true
ORDER BY i."shopId", i.sku, i."variantKey"
"""

# The lines are reached from the active holds, each by its id: reached from the item, the ended holds' would be read.
# OFFSET 0 keeps it so.
_SUMS = """
  SELECT l."shopId", l.sku, l."variantKey", sum(l.quantity)::int AS n
  FROM "InventoryHold" h CROSS JOIN LATERAL (
    SELECT "shopId", sku, "variantKey", quantity FROM "InventoryHoldItem" li
    WHERE li."holdId" = h.id AND li."shopId" = h."shopId" OFFSET 0
  ) l JOIN suspect s ON s."shopId" = l."shopId" AND s.sku = l.sku AND s."variantKey" = l."variantKey"
  WHERE h.status = 'active'
  GROUP BY l."shopId", l.sku, l."variantKey"
"""

_JUDGE = f"""
WITH suspect AS MATERIALIZED (
  SELECT * FROM unnest(%(shops)s::text[], %(skus)s::text[], %(variants)s::text[]) AS s("shopId", sku, "variantKey")
), active AS MATERIALIZED ({_SUMS})
SELECT s."shopId", s.sku, s."variantKey", i.quantity, i.held, coalesce(a.n, 0) AS active, m."onHand"
FROM suspect s
LEFT JOIN "InventoryItem" i ON i."shopId" = s."shopId" AND i.sku = s.sku AND i."variantKey" = s."variantKey"
LEFT JOIN active a ON a."shopId" = s."shopId" AND a.sku = s.sku AND a."variantKey" = s."variantKey"
LEFT JOIN LATERAL (
  SELECT "onHand" FROM "InventoryMovement" m
  WHERE m."shopId" = s."shopId" AND m.sku = s.sku AND m."variantKey" = s."variantKey" ORDER BY m.id DESC LIMIT 1
) m ON true
WHERE (i.held = coalesce(a.n, 0) AND i.quantity + i.held = coalesce(m."onHand", 0)) IS NOT TRUE
  AND (i.sku IS NOT NULL OR a.n IS NOT NULL)
ORDER BY s."shopId", s.sku, s."variantKey"
"""  # noqa: S608 - constants

_LOCK = """
SELECT FROM "InventoryItem" WHERE "shopId" = %(shop)s AND sku = %(sku)s AND "variantKey" = %(variant)s
FOR NO KEY UPDATE
"""

_REPAIR = """
UPDATE "InventoryItem" i SET held = %(active)s, quantity = %(quantity)s, "updatedAt" = now()
WHERE i."shopId" = %(shop)s AND i.sku = %(sku)s AND i."variantKey" = %(variant)s
"""

_STATUSES = """
SELECT "shopId", id, coalesce(h.status, a.status) AS status
FROM unnest(%(shops)s::text[], %(holds)s::text[]) AS named("shopId", id)
LEFT JOIN "InventoryHold" h USING ("shopId", id) LEFT JOIN "InventoryHoldArchive" a USING ("shopId", id)
WHERE coalesce(h.status, a.status) IS NOT NULL
"""


def statement_of_active(*, one_shop: bool) -> str:
    """Return the read of a page of active holds with their lines."""
    return _ACTIVE.format(
        columns=f"{COLUMNS}, {LINES}", limit=BATCH, of_shop='AND h."shopId" = %(shop)s' if one_shop else ""
    )


def statement_of_counts(*, one_shop: bool) -> str:
    """Return the read of a page of items, each with its last movement."""
    return _COUNTS.format(limit=BATCH, of_shop='AND "shopId" = %(shop)s' if one_shop else "")


JUDGE = _JUDGE
"""The read that judges suspects: all figures of an item at one moment."""


async def active_holds(engine: AsyncEngine, shop_id: str | None = None) -> AsyncIterator[Sequence[Hold]]:
    """Yield the active holds with their lines, in batches, the next to expire first."""
    statement = statement_of_active(one_shop=shop_id is not None)
    at, after_shop, after_hold = _FIRST, "", ""
    while True:
        parameters = {"at": at, "after_shop": after_shop, "after_hold": after_hold, "shop": shop_id}
        page = [hold_from(row) for row in await fetch(engine, statement, parameters)]
        if page:
            yield page
        if len(page) < BATCH:
            return
        at, after_shop, after_hold = page[-1].expires_at, page[-1].shop_id, page[-1].hold_id


async def counts(engine: AsyncEngine, shop_id: str | None = None) -> AsyncIterator[Sequence[Count]]:
    """Yield all items with what their last movements left, in batches."""
    statement = statement_of_counts(one_shop=shop_id is not None)
    after: ItemKey = ("", "", "")
    while True:
        parameters = {
            "after_shop": after[0],
            "after_sku": after[1],
            "after_variant": after[2],
            "shop": shop_id,
        }
        rows = await fetch(engine, statement, parameters)
        page = [Count(_key(row), row["quantity"], row["held"], row["onHand"]) for row in rows]
        if page:
            yield page
        if len(page) < BATCH:
            return
        after = page[-1].key


async def judge(engine: AsyncEngine, suspects: Sequence[ItemKey]) -> list[Drift]:
    """Return those of the items whose figures really disagree: each one's are read in one statement."""
    return [_drift(row) for row in await fetch(engine, JUDGE, _arrays(suspects))]


async def statuses_of(engine: AsyncEngine, holds: Sequence[HoldKey]) -> dict[HoldKey, HoldStatus]:
    """Return how the holds are in the database, archived ones too; those that are not there are left out."""
    parameters = {"shops": [shop for shop, _ in holds], "holds": [hold for _, hold in holds]}
    rows = await fetch(engine, _STATUSES, parameters)
    return {HoldKey(row["shopId"], row["id"]): HoldStatus(row["status"]) for row in rows}


async def repair(engine: AsyncEngine, key: ItemKey) -> Drift | None:
    """Set the item's held to what active holds have, and its quantity to the rest of what the last movement left.

    Returns what was found, None where nothing was wrong any more; only a `repairable` one was changed. Movements are
    left as they are. May be repeated. Raises DatabaseBusyError and DatabaseUnavailableError.
    """

    async def once(connection: AsyncConnection) -> Drift | None:
        place: dict[str, object] = {"shop": key[0], "sku": key[1], "variant": key[2]}
        await fetch_on(connection, _LOCK, place)
        # A second statement, with a snapshot of its own: what was committed while the lock was awaited counts.
        rows = await fetch_on(connection, JUDGE, _arrays([key]))
        if not rows:
            return None
        drift = _drift(rows[0])
        if drift.repairable and drift.on_hand is not None:
            right = {"active": drift.active, "quantity": drift.on_hand - drift.active}
            await fetch_on(connection, _REPAIR, place | right)
        return drift

    return await in_transaction(engine, once)


def _arrays(keys: Sequence[ItemKey]) -> Mapping[str, object]:
    return {"shops": [k[0] for k in keys], "skus": [k[1] for k in keys], "variants": [k[2] for k in keys]}


def _key(row: Row) -> ItemKey:
    return row["shopId"], row["sku"], row["variantKey"]


def _drift(row: Row) -> Drift:
    return Drift(_key(row), row["quantity"], row["held"], row["active"], row["onHand"])


def in_batches(subjects: Sequence[_Subject], size: int = BATCH) -> Iterator[Sequence[_Subject]]:
    """Yield the subjects in order, so many at a time."""
    for start in range(0, len(subjects), size):
        yield subjects[start : start + size]
