"""Statements that read a hold and move its deadline."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import Row, fetch
from domain.holds import Hold, HoldStatus, Line
from inventory.fragments import HOLD_LINES

# Of a hold's row `h`; with HOLD_LINES, what `hold_from_row` reads.
COLUMNS = """
  h.id, h."shopId", h.status, h."expiresAt", h."createdAt", h."updatedAt", h."committedAt", h."releasedAt",
  h."expiredAt", h.reason, h.reference, h."paymentSessionId", h."paymentIntentId", h."requestHash",
  h."browserExtensions", h."browserExtended", h.buyer, h.revision, h.sold, h.metadata, h."warnBeforeSeconds",
  h."createdBy", h."endedBy", h."amountTotal", h.currency, h."paidElsewhere"
"""

# What was returned of a committed hold, in the form of `sold`.
RESTOCKED = """
  CASE WHEN h.status = 'committed' THEN (
    SELECT json_agg(json_build_object('sku', m.sku, 'variantKey', m."variantKey", 'quantity', m.n))
    FROM (SELECT sku, "variantKey", sum(delta) AS n FROM "InventoryMovement"
          WHERE "shopId" = h."shopId" AND "holdId" = h.id AND kind = 'restock' GROUP BY sku, "variantKey") m
  ) END AS restocked
"""

_READ = f"""
SELECT {COLUMNS}, {HOLD_LINES}, {RESTOCKED}
FROM "InventoryHold" h WHERE h."shopId" = %(shop)s AND h.id = %(hold)s
"""  # noqa: S608 - constants

_MOVE_DEADLINE = """
UPDATE "InventoryHold"
SET "expiresAt" = CASE WHEN "expiresAt" = %(back_from)s::timestamptz THEN %(expires)s
                       ELSE greatest("expiresAt", %(expires)s) END,
    "browserExtended" = greatest("browserExtended", %(browser_extended)s), "updatedAt" = now()
WHERE "shopId" = %(shop)s AND id = %(hold)s AND status = 'active'
RETURNING id
"""


def hold_from_row(row: Row) -> Hold:
    """Build a Hold from a row that has COLUMNS and HOLD_LINES."""
    return Hold(
        hold_id=row["id"],
        shop_id=row["shopId"],
        status=HoldStatus(row["status"]),
        expires_at=row["expiresAt"],
        created_at=row["createdAt"],
        updated_at=row["updatedAt"],
        committed_at=row["committedAt"],
        released_at=row["releasedAt"],
        expired_at=row["expiredAt"],
        reason=row["reason"],
        reference=row["reference"],
        payment_session_id=row["paymentSessionId"],
        payment_intent_id=row["paymentIntentId"],
        request_hash=row["requestHash"],
        lines=tuple(Line(sku, variant_key, quantity) for sku, variant_key, quantity in row["lines"]),
        # Null in an archive of before the columns.
        browser_extensions=row["browserExtensions"] or 0,
        browser_extended=row["browserExtended"] or 0,
        buyer=row["buyer"],
        revision=row["revision"] or 0,
        sold=None if row["sold"] is None else lines_from_json(row["sold"]),
        restocked=lines_from_json(row.get("restocked") or ()),
        metadata=row["metadata"],
        warn_before_seconds=row["warnBeforeSeconds"],
        archived_at=row.get("archivedAt"),
        created_by=row["createdBy"],
        ended_by=row["endedBy"],
        amount_total=row["amountTotal"],
        currency=row["currency"],
        paid_elsewhere=bool(row["paidElsewhere"]),
    )


def lines_from_json(items: Iterable[Mapping[str, Any]]) -> tuple[Line, ...]:
    """Return the lines of a JSON array of {sku, variantKey, quantity}, as the column `sold` has it."""
    return tuple(Line(item["sku"], item["variantKey"], item["quantity"]) for item in items)


async def read_hold(engine: AsyncEngine, shop_id: str, hold_id: str) -> Hold | None:
    """Return the hold with its lines, or None where there is none."""
    rows = await fetch(engine, _READ, {"shop": shop_id, "hold": hold_id})
    return hold_from_row(rows[0]) if rows else None


async def move_deadline(
    engine: AsyncEngine,
    shop_id: str,
    hold_id: str,
    expires_at: datetime,
    *,
    back_from: datetime | None = None,
    browser_extended: int = 0,
) -> bool:
    """Move the deadline of an active hold, and back only from `back_from`: a frozen worker's statement may arrive late.

    `browser_extended`: how often the shopper's browser has extended it so far. Returns False if the hold has ended;
    nothing was written then.
    """
    parameters = {
        "shop": shop_id,
        "hold": hold_id,
        "expires": expires_at,
        "back_from": back_from,
        "browser_extended": browser_extended,
    }
    return bool(await fetch(engine, _MOVE_DEADLINE, parameters))


def lines_as_arrays(lines: Sequence[Line]) -> dict[str, object]:
    """Return the lines as the three parallel arrays that the statements unnest."""
    return {
        "skus": [line.sku for line in lines],
        "variants": [line.variant_key for line in lines],
        "quantities": [line.quantity for line in lines],
    }


def one_line_each(lines: Sequence[Line]) -> Sequence[Line]:
    """Return the lines with one for each item: the same item on two lines is one with the sum."""
    if len(lines) == 1:
        return lines
    units = dict[tuple[str, str], int]()
    for line in lines:
        key = (line.sku, line.variant_key)
        units[key] = units.get(key, 0) + line.quantity
    return [Line(*key, quantity) for key, quantity in units.items()] if len(units) < len(lines) else lines
