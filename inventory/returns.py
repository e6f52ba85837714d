"""Returns: units of a hold that was sold come back on hand, never more of them than were sold."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.database import fetch_on
from core.transactions import in_transaction
from domain.holds import HoldStatus, Line
from inventory.adjustments import (
    REMEMBERED,
    AboveLimitError,
    ItemName,
    UnknownItemsError,
    correction_hash,
    key_or_new,
    same_request,
)
from inventory.holds import lines_as_arrays
from inventory.items import MAX_ON_HAND


@dataclass(frozen=True, slots=True)
class TooMany:
    """An item of which more was to come back than is out: `committed` less what is `restocked` already."""

    sku: str
    variant_key: str
    requested: int
    committed: int
    restocked: int


class AboveCommittedError(Exception):
    """More was to come back than was sold. Nothing was changed."""

    def __init__(self, items: Sequence[TooMany]) -> None:
        super().__init__("more than was sold")
        self.items = tuple(items)


class NotCommittedError(Exception):
    """The hold was not sold, so nothing of it can come back. Nothing was changed."""

    def __init__(self, status: HoldStatus) -> None:
        super().__init__(status)
        self.status = status


_LOCK_HOLD = """
SELECT status FROM "InventoryHold" WHERE "shopId" = %(shop)s AND id = %(hold)s FOR NO KEY UPDATE
"""

# Runs under the lock of the hold and in a statement of its own, so that it sees what came back before. As in settle,
# the hold is locked before its items, and those in key order.
_RESTOCK = """
WITH sold AS (
  SELECT sku, "variantKey", sum(quantity) AS n FROM "InventoryHoldItem"
  WHERE "shopId" = %(shop)s AND "holdId" = %(hold)s GROUP BY sku, "variantKey"
), back AS (
  SELECT sku, "variantKey", sum(delta) AS n FROM "InventoryMovement"
  WHERE "shopId" = %(shop)s AND "holdId" = %(hold)s AND kind = 'restock' GROUP BY sku, "variantKey"
), given AS (
  SELECT sku, "variantKey", sum(quantity) AS n
  FROM unnest(%(skus)s::text[], %(variants)s::text[], %(quantities)s::int[]) AS line(sku, "variantKey", quantity)
  GROUP BY sku, "variantKey"
), asked AS MATERIALIZED (
  SELECT sku, "variantKey", coalesce(sold.n, 0) AS committed, coalesce(back.n, 0) AS restocked,
         CASE WHEN %(whole)s THEN coalesce(sold.n, 0) - coalesce(back.n, 0) ELSE coalesce(given.n, 0) END AS n
  FROM sold FULL JOIN given USING (sku, "variantKey") LEFT JOIN back USING (sku, "variantKey")
), locked AS MATERIALIZED (
  SELECT i.sku, i."variantKey", i.quantity, i.held, a.n
  FROM "InventoryItem" i JOIN asked a ON i.sku = a.sku AND i."variantKey" = a."variantKey"
  WHERE i."shopId" = %(shop)s AND a.n > 0
  ORDER BY i.sku, i."variantKey"
  FOR NO KEY UPDATE OF i
), judged AS MATERIALIZED (
  SELECT a.*, a.restocked + a.n > a.committed AS too_many, a.n > 0 AND l.sku IS NULL AS unknown,
         coalesce(l.quantity::bigint + l.held + l.n > %(most)s, false) AS above
  FROM asked a LEFT JOIN locked l USING (sku, "variantKey")
), claim AS (
  INSERT INTO "InventoryCorrection" ("shopId", "idempotencyKey", "requestHash", answer)
  SELECT %(shop)s, %(key)s, %(hash)s, jsonb_agg(jsonb_build_array(sku, "variantKey", restocked + n)
                                               ORDER BY sku, "variantKey") FILTER (WHERE restocked + n > 0)
  FROM judged HAVING NOT bool_or(too_many OR unknown OR above)
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
SELECT *, EXISTS (SELECT FROM claim) AS done FROM judged ORDER BY sku, "variantKey"
"""


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
    """Take units of a committed hold on hand again, all or none: the lines, or without any all that is still out.

    Returns all that has come back of the hold by now, or None where there is no such hold. Repeated with the same `key`
    and lines it returns the same and changes nothing; without lines, a repeat finds nothing left to take. Raises
    NotCommittedError, AboveCommittedError, UnknownItemsError, AboveLimitError, KeyUsedError, DatabaseBusyError and
    DatabaseUnavailableError (it may have been done).
    """
    asked = None if lines is None else sorted([line.sku, line.variant_key, line.quantity] for line in lines)
    request_hash = correction_hash("restock", hold_id, asked, reason)
    parameters = {
        "shop": shop_id,
        "hold": hold_id,
        "whole": lines is None,
        "key": key_or_new(key),
        "given_key": key,
        "hash": request_hash,
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
            raise NotCommittedError(HoldStatus(holds[0]["status"]))
        rows = await fetch_on(connection, _RESTOCK, parameters)
        if rows[0]["done"]:
            return tuple(
                Line(row["sku"], row["variantKey"], int(row["restocked"] + row["n"]))
                for row in rows
                if row["restocked"] + row["n"] > 0
            )
        if remembered := await fetch_on(connection, REMEMBERED, parameters):
            answer = same_request(remembered[0], request_hash)
            assert isinstance(answer, list)  # noqa: S101 - what _RESTOCK wrote
            return tuple(Line(*line) for line in answer)
        if too_many := [row for row in rows if row["too_many"]]:
            raise AboveCommittedError(
                [
                    TooMany(row["sku"], row["variantKey"], int(row["n"]), int(row["committed"]), int(row["restocked"]))
                    for row in too_many
                ]
            )
        if unknown := [ItemName(row["sku"], row["variantKey"]) for row in rows if row["unknown"]]:
            raise UnknownItemsError(unknown)
        raise AboveLimitError([ItemName(row["sku"], row["variantKey"]) for row in rows if row["above"]])

    return await in_transaction(engine, work)
