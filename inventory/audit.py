"""The audit of stock: compares every item with its active holds and movements, and repairs items that drifted."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.database import Row, fetch, fetch_on
from core.transactions import in_transaction
from domain.holds import Hold, HoldKey, HoldStatus
from inventory.fragments import HOLD_LINES, last_on_hand
from inventory.holds import COLUMNS, hold_from_row

BATCH = 500
"""The rows of one read: it takes Postgres some milliseconds, so that checkouts do not wait for the audit."""

_FIRST = datetime(1, 1, 1, tzinfo=UTC)


_Subject = TypeVar("_Subject")


class ItemKey(NamedTuple):
    """The primary key of an item."""

    shop_id: str
    sku: str
    variant_key: str


@dataclass(frozen=True, slots=True)
class ItemBalance:
    """An item's figures, and the units on hand that its last movement left (None: it has no movement)."""

    key: ItemKey
    quantity: int
    held: int
    last_on_hand: int | None


@dataclass(frozen=True, slots=True)
class Drift:
    """An item whose figures disagree. All of them come from one snapshot."""

    key: ItemKey
    quantity: int | None
    """None, as is `held`, where there is no such item but active holds have lines of it."""
    held: int | None
    active: int
    """The sum of the lines of its active holds."""
    last_on_hand: int | None
    """The units on hand that its last movement left (None: it has no movement)."""

    @property
    def held_differs(self) -> bool:
        """Whether `held` differs from the sum of the active holds."""
        return self.held != self.active

    @property
    def balance_differs(self) -> bool:
        """Whether the units on hand differ from what the last movement left."""
        return self.quantity is not None and self.quantity + (self.held or 0) != (self.last_on_hand or 0)

    @property
    def repairable(self) -> bool:
        """Whether the movements and the active holds determine `quantity` and `held`."""
        return self.held is not None and self.last_on_hand is not None and self.last_on_hand >= self.active


# A row comparison instead of "or is null", and a constant limit: the generic plan then starts each page in the index
# where the last one ended, and expects few rows.
_ACTIVE = """
SELECT {columns} FROM "InventoryHold" h
WHERE h.status = 'active' {of_shop} AND (h."expiresAt", h."shopId", h.id) > (%(at)s, %(after_shop)s, %(after_hold)s)
ORDER BY h."expiresAt", h."shopId", h.id LIMIT {limit}
"""

_BALANCES = """
SELECT i."shopId", i.sku, i."variantKey", i.quantity, i.held, m."onHand"
FROM (
  SELECT "shopId", sku, "variantKey", quantity, held FROM "InventoryItem"
  WHERE ("shopId", sku, "variantKey") > (%(after_shop)s, %(after_sku)s, %(after_variant)s) {of_shop}
  ORDER BY "shopId", sku, "variantKey" LIMIT {limit}
) i {last_on_hand}
ORDER BY i."shopId", i.sku, i."variantKey"
"""

# The lines are read by the ids of the active holds: read by item, those of all ended holds would be read too. OFFSET 0
# keeps the planner from changing that.
_HELD_BY_ACTIVE = """
  SELECT l."shopId", l.sku, l."variantKey", sum(l.quantity)::int AS n
  FROM "InventoryHold" h CROSS JOIN LATERAL (
    SELECT "shopId", sku, "variantKey", quantity FROM "InventoryHoldItem" li
    WHERE li."holdId" = h.id AND li."shopId" = h."shopId" OFFSET 0
  ) l JOIN suspect s ON s."shopId" = l."shopId" AND s.sku = l.sku AND s."variantKey" = l."variantKey"
  WHERE h.status = 'active'
  GROUP BY l."shopId", l.sku, l."variantKey"
"""

FIND_DRIFT = f"""
WITH suspect AS MATERIALIZED (
  SELECT * FROM unnest(%(shops)s::text[], %(skus)s::text[], %(variants)s::text[]) AS s("shopId", sku, "variantKey")
), active AS MATERIALIZED ({_HELD_BY_ACTIVE})
SELECT s."shopId", s.sku, s."variantKey", i.quantity, i.held, coalesce(a.n, 0) AS active, m."onHand"
FROM suspect s
LEFT JOIN "InventoryItem" i ON i."shopId" = s."shopId" AND i.sku = s.sku AND i."variantKey" = s."variantKey"
LEFT JOIN active a ON a."shopId" = s."shopId" AND a.sku = s.sku AND a."variantKey" = s."variantKey"
{last_on_hand("s")}
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
        columns=f"{COLUMNS}, {HOLD_LINES}", limit=BATCH, of_shop='AND h."shopId" = %(shop)s' if one_shop else ""
    )


def statement_of_balances(*, one_shop: bool) -> str:
    """Return the read of a page of items, each with its last movement."""
    of_shop = 'AND "shopId" = %(shop)s' if one_shop else ""
    return _BALANCES.format(limit=BATCH, of_shop=of_shop, last_on_hand=last_on_hand("i"))


async def active_holds(engine: AsyncEngine, shop_id: str | None = None) -> AsyncIterator[Sequence[Hold]]:
    """Yield the active holds with their lines, in batches, the next to expire first."""
    statement = statement_of_active(one_shop=shop_id is not None)
    at, after_shop, after_hold = _FIRST, "", ""
    while True:
        parameters = {"at": at, "after_shop": after_shop, "after_hold": after_hold, "shop": shop_id}
        page = [hold_from_row(row) for row in await fetch(engine, statement, parameters)]
        if page:
            yield page
        if len(page) < BATCH:
            return
        at, after_shop, after_hold = page[-1].expires_at, page[-1].shop_id, page[-1].hold_id


async def item_balances(engine: AsyncEngine, shop_id: str | None = None) -> AsyncIterator[Sequence[ItemBalance]]:
    """Yield all items with what their last movements left, in batches."""
    statement = statement_of_balances(one_shop=shop_id is not None)
    after = ItemKey("", "", "")
    while True:
        parameters = {
            "after_shop": after.shop_id,
            "after_sku": after.sku,
            "after_variant": after.variant_key,
            "shop": shop_id,
        }
        page = [_balance_from_row(row) for row in await fetch(engine, statement, parameters)]
        if page:
            yield page
        if len(page) < BATCH:
            return
        after = page[-1].key


async def find_drift(engine: AsyncEngine, suspects: Sequence[ItemKey]) -> list[Drift]:
    """Return those of the items whose figures disagree within one snapshot, by key."""
    return [_drift_from_row(row) for row in await fetch(engine, FIND_DRIFT, _arrays(suspects))]


async def statuses_of(engine: AsyncEngine, holds: Sequence[HoldKey]) -> dict[HoldKey, HoldStatus]:
    """Return the status of each hold that is in the database or its archive; others are left out."""
    parameters = {"shops": [shop for shop, _ in holds], "holds": [hold for _, hold in holds]}
    rows = await fetch(engine, _STATUSES, parameters)
    return {HoldKey(row["shopId"], row["id"]): HoldStatus(row["status"]) for row in rows}


async def repair(engine: AsyncEngine, key: ItemKey) -> Drift | None:
    """Set the item's `held` to the sum of its active holds, and `quantity` to the rest of what its last movement left.

    Returns the drift that was found; None where there is none any more. Only a `repairable` one was changed. Adds no
    movement. May be repeated. Raises DatabaseBusyError and DatabaseUnavailableError.
    """

    async def once(connection: AsyncConnection) -> Drift | None:
        item: dict[str, object] = {"shop": key.shop_id, "sku": key.sku, "variant": key.variant_key}
        await fetch_on(connection, _LOCK, item)
        # A second statement has a new snapshot, with all that was committed while this one waited for the lock.
        rows = await fetch_on(connection, FIND_DRIFT, _arrays([key]))
        if not rows:
            return None
        drift = _drift_from_row(rows[0])
        if drift.repairable and drift.last_on_hand is not None:
            figures = {"active": drift.active, "quantity": drift.last_on_hand - drift.active}
            await fetch_on(connection, _REPAIR, item | figures)
        return drift

    return await in_transaction(engine, once)


def _arrays(keys: Sequence[ItemKey]) -> Mapping[str, object]:
    return {
        "shops": [key.shop_id for key in keys],
        "skus": [key.sku for key in keys],
        "variants": [key.variant_key for key in keys],
    }


def _key_from_row(row: Row) -> ItemKey:
    return ItemKey(row["shopId"], row["sku"], row["variantKey"])


def _balance_from_row(row: Row) -> ItemBalance:
    return ItemBalance(_key_from_row(row), row["quantity"], row["held"], row["onHand"])


def _drift_from_row(row: Row) -> Drift:
    return Drift(_key_from_row(row), row["quantity"], row["held"], row["active"], row["onHand"])


def in_batches(subjects: Sequence[_Subject], size: int = BATCH) -> Iterator[Sequence[_Subject]]:
    """Yield the subjects in order, `size` at a time."""
    for start in range(0, len(subjects), size):
        yield subjects[start : start + size]
