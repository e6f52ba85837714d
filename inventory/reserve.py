"""Reserves stock for a hold: one statement, one round trip, all lines or none."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg.types.json import Jsonb
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch
from domain.holds import Held, Hold, Line, ReferenceTaken, ReserveRequest, Shortage, ShortItem, TooLate
from inventory.fragments import DEMAND, HOLD_LINES
from inventory.holds import hold_from_row, lines_as_arrays


@dataclass(frozen=True, slots=True)
class RequestCheck:
    """What one read tells about a request to hold: its own hold, another with its reference, and short items."""

    own: Hold | None
    reference_hold_id: str | None
    short: tuple[ShortItem, ...]
    too_late: bool


# Item locks come before the INSERT, in key order, and the new figures are computed from the locked rows: otherwise a
# CHECK is evaluated on the stale version of a row, and the unique reference deadlocks with a settle.
_RESERVE = f"""
WITH demand AS MATERIALIZED ({DEMAND}), locked AS MATERIALIZED (
  SELECT i.sku, i."variantKey", d.requested, i.quantity, i.held, i."productId", i."variantAttributes"
  FROM demand d
  JOIN "InventoryItem" i ON i."shopId" = %(shop)s AND i.sku = d.sku AND i."variantKey" = d."variantKey"
  WHERE NOT EXISTS (SELECT FROM "InventoryHold" WHERE "shopId" = %(shop)s AND id = %(hold)s) AND i."retiredAt" IS NULL
  ORDER BY i.sku, i."variantKey"
  FOR NO KEY UPDATE OF i
), hold AS (
  INSERT INTO "InventoryHold" (id, "shopId", status, "expiresAt", "createdAt", reference, "requestHash",
                               metadata, "warnBeforeSeconds", "createdBy")
  SELECT %(hold)s, %(shop)s, 'active', %(expires)s, %(created)s, %(reference)s, %(hash)s,
         %(metadata)s, %(warn)s, %(actor)s
  FROM (SELECT count(*) AS n, clock_timestamp() AS at FROM locked WHERE quantity >= requested) v
  WHERE v.n = (SELECT count(*) FROM demand) AND v.at < %(before)s
  ON CONFLICT DO NOTHING
  RETURNING id
), taken AS (
  UPDATE "InventoryItem" i
  SET quantity = l.quantity - l.requested, held = l.held + l.requested, "updatedAt" = now()
  FROM locked l CROSS JOIN hold
  WHERE i."shopId" = %(shop)s AND i.sku = l.sku AND i."variantKey" = l."variantKey"
), lines AS (
  INSERT INTO "InventoryHoldItem" ("shopId", "holdId", sku, "variantKey", "productId", "variantAttributes", quantity)
  SELECT %(shop)s, hold.id, l.sku, l."variantKey", l."productId", l."variantAttributes", l.requested
  FROM locked l CROSS JOIN hold
)
SELECT EXISTS (SELECT FROM hold) AS reserved
"""  # noqa: S608 - constants

_CHECK = f"""
WITH own AS (
  SELECT h.*, {HOLD_LINES}
  FROM "InventoryHold" h WHERE h."shopId" = %(shop)s AND h.id = %(hold)s
), other AS (
  SELECT id FROM "InventoryHold"
  WHERE "shopId" = %(shop)s AND reference = %(reference)s AND status = 'active' AND id <> %(hold)s
), demand AS ({DEMAND}), stock AS (
  SELECT d.sku, d."variantKey", d.requested,
         CASE WHEN i."retiredAt" IS NULL THEN coalesce(i.quantity, 0) ELSE 0 END AS available,
         i.sku IS NOT NULL AS known, i."retiredAt" IS NOT NULL AS retired,
         CASE WHEN %(replace)s AND i."retiredAt" IS NULL THEN coalesce((
           SELECT sum(l.quantity) FROM "InventoryHoldItem" l JOIN other ON l."holdId" = other.id
           WHERE l."shopId" = %(shop)s AND l.sku = d.sku AND l."variantKey" = d."variantKey"), 0)
         ELSE 0 END AS comes_back
  FROM demand d
  LEFT JOIN "InventoryItem" i ON i."shopId" = %(shop)s AND i.sku = d.sku AND i."variantKey" = d."variantKey"
)
SELECT own.*, (SELECT id FROM other) AS other_id, clock_timestamp() >= %(before)s AS too_late,
       (SELECT coalesce(json_agg(json_build_array(sku, "variantKey", requested, available + comes_back, known, retired)
                                 ORDER BY sku, "variantKey"), '[]')
        FROM stock WHERE available + comes_back < requested) AS short
FROM (SELECT) AS always LEFT JOIN own ON true
"""  # noqa: S608 - constants

_NEVER = datetime.max.replace(tzinfo=UTC)


async def reserve(engine: AsyncEngine, request: ReserveRequest) -> Held | Shortage | ReferenceTaken | TooLate:
    """Take the stock of every line into a new hold, or return why not. May be repeated: the hold id is the key.

    Raises DatabaseBusyError (nothing was taken) and DatabaseUnavailableError (unknown: ask again).
    """
    parameters = {
        "shop": request.shop_id,
        "hold": request.hold_id,
        "created": request.created_at,
        "expires": request.expires_at,
        "before": request.reserve_before,
        "reference": request.reference,
        "hash": request.request_hash,
        "metadata": None if request.metadata is None else Jsonb(request.metadata),
        "warn": request.warn_before_seconds,
        "actor": request.actor,
        **lines_as_arrays(request.lines),
    }
    while True:
        if (await fetch(engine, _RESERVE, parameters))[0]["reserved"]:
            return Held.new(request)
        # A new statement, with a new snapshot: a concurrent attempt may have taken the last unit for this very hold.
        # If nothing prevents the hold any more, the reserve runs again.
        check = await check_request(
            engine,
            shop_id=request.shop_id,
            hold_id=request.hold_id,
            lines=request.lines,
            reference=request.reference,
            reserve_before=request.reserve_before,
        )
        if check.own is not None:
            return Held.of(check.own)
        if check.reference_hold_id is not None:
            return ReferenceTaken(check.reference_hold_id)
        if check.too_late:
            return TooLate()
        if check.short:
            return Shortage(check.short)


async def check_request(
    engine: AsyncEngine,
    *,
    shop_id: str,
    hold_id: str,
    lines: Sequence[Line],
    reference: str | None = None,
    replace: bool = False,
    reserve_before: datetime | None = None,
) -> RequestCheck:
    """Read, in one round trip, what prevents a hold.

    With `replace`, the stock of the hold that has the reference counts as available: it would be released first.
    Raises DatabaseBusyError and DatabaseUnavailableError.
    """
    parameters = {
        "shop": shop_id,
        "hold": hold_id,
        "reference": reference,
        "replace": replace,
        "before": reserve_before or _NEVER,
        **lines_as_arrays(lines),
    }
    row = (await fetch(engine, _CHECK, parameters))[0]
    return RequestCheck(
        own=hold_from_row(row) if row["id"] is not None else None,
        reference_hold_id=row["other_id"],
        short=tuple(ShortItem(*item) for item in row["short"]),
        too_late=row["too_late"],
    )
