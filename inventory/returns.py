"""Returns: units that a hold sold are on hand again, never more of them than it sold."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.types.json import Jsonb
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.database import Row, fetch, fetch_on
from core.transactions import in_transaction
from domain.fields import MAX_ON_HAND
from domain.holds import HoldStatus, Line
from inventory.errors import (
    HoldNotCommittedError,
    ReturnAboveCommitted,
    ReturnAboveCommittedError,
    StockAboveLimitError,
    StockError,
    UnknownItemsError,
)
from inventory.fragments import DEMAND
from inventory.holds import lines_as_arrays
from inventory.idempotency import STORED_RESULT, key_or_new, request_hash, result_of_repeat
from inventory.items import name_from_row

_RETURNED = """
SELECT sku, "variantKey", delta, "createdAt", actor, reason FROM "InventoryMovement"
WHERE "shopId" = %(shop)s AND "holdId" = %(hold)s AND kind = 'restock' ORDER BY id
"""

_LOCK_HOLD = """
SELECT status, sold FROM "InventoryHold" WHERE "shopId" = %(shop)s AND id = %(hold)s FOR NO KEY UPDATE
"""

# Runs after the statement that locks the hold, with a new snapshot, so that it sees all earlier returns. Locks are
# taken in the order of settle: the hold, then its items in key order.
_RESTOCK = f"""
WITH sold AS (
  SELECT sku, "variantKey", sum(quantity) AS n FROM (
    SELECT sku, "variantKey", quantity FROM "InventoryHoldItem"
    WHERE "shopId" = %(shop)s AND "holdId" = %(hold)s AND %(sold)s::jsonb IS NULL
    UNION ALL
    SELECT * FROM jsonb_to_recordset(%(sold)s::jsonb) AS part(sku text, "variantKey" text, quantity int)
  ) units GROUP BY sku, "variantKey"
), back AS (
  SELECT sku, "variantKey", sum(delta) AS n FROM "InventoryMovement"
  WHERE "shopId" = %(shop)s AND "holdId" = %(hold)s AND kind = 'restock' GROUP BY sku, "variantKey"
), given AS ({DEMAND}), requested AS MATERIALIZED (
  SELECT sku, "variantKey", coalesce(sold.n, 0) AS committed, coalesce(back.n, 0) AS restocked,
         CASE WHEN %(whole)s THEN coalesce(sold.n, 0) - coalesce(back.n, 0) ELSE coalesce(given.requested, 0) END AS n
  FROM sold FULL JOIN given USING (sku, "variantKey") LEFT JOIN back USING (sku, "variantKey")
), locked AS MATERIALIZED (
  SELECT i.sku, i."variantKey", i.quantity, i.held, a.n
  FROM "InventoryItem" i JOIN requested a ON i.sku = a.sku AND i."variantKey" = a."variantKey"
  WHERE i."shopId" = %(shop)s AND a.n > 0
  ORDER BY i.sku, i."variantKey"
  FOR NO KEY UPDATE OF i
), checked AS MATERIALIZED (
  SELECT a.*, a.restocked + a.n > a.committed AS too_many, a.n > 0 AND l.sku IS NULL AS unknown,
         coalesce(l.quantity::bigint + l.held + l.n > %(most)s, false) AS above
  FROM requested a LEFT JOIN locked l USING (sku, "variantKey")
), claim AS (
  INSERT INTO "InventoryCorrection" ("shopId", "idempotencyKey", "requestHash", answer)
  SELECT %(shop)s, %(key)s, %(hash)s, jsonb_agg(jsonb_build_array(sku, "variantKey", restocked + n)
                                               ORDER BY sku, "variantKey") FILTER (WHERE restocked + n > 0)
  FROM checked HAVING NOT bool_or(too_many OR unknown OR above)
  ON CONFLICT DO NOTHING
  RETURNING 1
), moved AS (
  UPDATE "InventoryItem" i SET quantity = l.quantity + l.n, held = l.held, "updatedAt" = now()
  FROM locked l CROSS JOIN claim
  WHERE i."shopId" = %(shop)s AND i.sku = l.sku AND i."variantKey" = l."variantKey"
), ledger AS (
  INSERT INTO "InventoryMovement" ("shopId", sku, "variantKey", kind, delta, "onHand", "holdId", actor, reason,
                                   "idempotencyKey")
  SELECT %(shop)s, sku, "variantKey", 'restock', n, quantity + held + n, %(hold)s, %(actor)s, %(reason)s, %(given_key)s
  FROM locked CROSS JOIN claim ORDER BY sku, "variantKey"
)
SELECT *, EXISTS (SELECT FROM claim) AS done FROM checked ORDER BY sku, "variantKey"
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Returned:
    """Units that were returned of a hold, by whom and why."""

    at: datetime
    sku: str
    variant_key: str
    quantity: int
    actor: str
    reason: str | None


async def returns_of(engine: AsyncEngine, shop_id: str, hold_id: str) -> list[Returned]:
    """Return what was returned of the hold, in order. Raises DatabaseBusyError and DatabaseUnavailableError."""
    return [
        Returned(row["createdAt"], row["sku"], row["variantKey"], row["delta"], row["actor"], row["reason"])
        for row in await fetch(engine, _RETURNED, {"shop": shop_id, "hold": hold_id})
    ]


async def restock(
    engine: AsyncEngine,
    shop_id: str,
    hold_id: str,
    lines: Sequence[Line] | None,
    *,
    actor: str,
    reason: str,
    key: str | None = None,
) -> tuple[Line, ...] | None:
    """Return units of a committed hold to stock, all or none: the lines, or with None all units not returned yet.

    Returns all units of the hold that have been returned by now, or None where there is no such hold. Repeated with
    the same `key` and lines it changes nothing and returns the same; without lines, a repeat finds no units left.
    Raises HoldNotCommittedError, ReturnAboveCommittedError, UnknownItemsError, StockAboveLimitError, KeyReusedError,
    DatabaseBusyError and DatabaseUnavailableError (it may have been done).
    """
    requested = None if lines is None else sorted([line.sku, line.variant_key, line.quantity] for line in lines)
    digest = request_hash("restock", hold_id, requested, reason)
    parameters = {
        "shop": shop_id,
        "hold": hold_id,
        "whole": lines is None,
        "key": key_or_new(key),
        "given_key": key,
        "hash": digest,
        "actor": actor,
        "reason": reason,
        "most": MAX_ON_HAND,
        **lines_as_arrays(lines or ()),
    }

    async def work(connection: AsyncConnection) -> tuple[Line, ...] | None:
        holds = await fetch_on(connection, _LOCK_HOLD, parameters)
        if not holds:
            return None
        if holds[0]["status"] != HoldStatus.COMMITTED:
            raise HoldNotCommittedError(hold_id, HoldStatus(holds[0]["status"]))
        sold = None if holds[0]["sold"] is None else Jsonb(holds[0]["sold"])
        rows = await fetch_on(connection, _RESTOCK, parameters | {"sold": sold})
        if all(row["done"] for row in rows):  # none, where nothing was sold
            return tuple(
                Line(row["sku"], row["variantKey"], int(row["restocked"] + row["n"]))
                for row in rows
                if row["restocked"] + row["n"] > 0
            )
        if stored := await fetch_on(connection, STORED_RESULT, parameters):
            returned = result_of_repeat(stored[0], digest)
            assert isinstance(returned, list)  # noqa: S101 - as _RESTOCK stores it
            return tuple(Line(*line) for line in returned)
        raise _refusal(rows)

    return await in_transaction(engine, work)


def _refusal(rows: Sequence[Row]) -> StockError:
    """Return why the units cannot be returned."""
    if too_many := [row for row in rows if row["too_many"]]:
        return ReturnAboveCommittedError(
            [
                ReturnAboveCommitted(*name_from_row(row), int(row["n"]), int(row["committed"]), int(row["restocked"]))
                for row in too_many
            ]
        )
    if unknown := [name_from_row(row) for row in rows if row["unknown"]]:
        return UnknownItemsError(unknown)
    return StockAboveLimitError([name_from_row(row) for row in rows if row["above"]])
