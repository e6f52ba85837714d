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
class CheckQuestion:
    """A request to hold, of which is asked what prevents it.

    With `replace`, the stock of the hold that has the reference counts as available: it would be released first.
    """

    shop_id: str
    hold_id: str
    lines: tuple[Line, ...]
    reference: str | None = None
    replace: bool = False
    reserve_before: datetime | None = None


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
                               "browserExtensions", metadata, "warnBeforeSeconds", "createdBy")
  SELECT %(hold)s, %(shop)s, 'active', %(expires)s, %(created)s, %(reference)s, %(hash)s,
         %(browser_extensions)s, %(metadata)s, %(warn)s, %(actor)s
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

# OFFSET 0 keeps each lookup by its key, whatever the planner guesses about the number of requests and of rows.
_CHECK = f"""
WITH line AS MATERIALIZED (
  SELECT number, sku, "variantKey", sum(quantity) AS requested
  FROM unnest(%(numbers)s::int[], %(skus)s::text[], %(variants)s::text[], %(quantities)s::int[])
    AS line(number, sku, "variantKey", quantity)
  GROUP BY number, sku, "variantKey"
)
SELECT own.*, other.id AS other_id, clock_timestamp() >= r.before AS too_late, short.items AS short
FROM unnest(
  %(shops)s::text[], %(holds)s::text[], %(references)s::text[], %(replaces)s::bool[], %(befores)s::timestamptz[]
) WITH ORDINALITY AS r(shop, hold, reference, replace, before, number)
LEFT JOIN LATERAL (
  SELECT h.*, {HOLD_LINES} FROM "InventoryHold" h WHERE h."shopId" = r.shop AND h.id = r.hold OFFSET 0
) own ON true
LEFT JOIN LATERAL (
  SELECT h.id FROM "InventoryHold" h
  WHERE h."shopId" = r.shop AND h.reference = r.reference AND h.status = 'active' AND h.id <> r.hold OFFSET 0
) other ON true
CROSS JOIN LATERAL (
  SELECT coalesce(json_agg(json_build_array(sku, "variantKey", requested, available + comes_back, known, retired)
                           ORDER BY sku, "variantKey"), '[]') AS items
  FROM (
    SELECT d.sku, d."variantKey", d.requested,
           CASE WHEN i."retiredAt" IS NULL THEN coalesce(i.quantity, 0) ELSE 0 END AS available,
           i.sku IS NOT NULL AS known, i."retiredAt" IS NOT NULL AS retired,
           CASE WHEN r.replace AND i."retiredAt" IS NULL THEN coalesce((
             SELECT sum(l.quantity) FROM "InventoryHoldItem" l
             WHERE l."shopId" = r.shop AND l."holdId" = other.id AND l.sku = d.sku AND l."variantKey" = d."variantKey"
           ), 0) ELSE 0 END AS comes_back
    FROM line d
    LEFT JOIN LATERAL (
      SELECT i.sku, i.quantity, i."retiredAt" FROM "InventoryItem" i
      WHERE i."shopId" = r.shop AND i.sku = d.sku AND i."variantKey" = d."variantKey" OFFSET 0
    ) i ON true
    WHERE d.number = r.number
  ) stock
  WHERE available + comes_back < requested
) short
ORDER BY r.number
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
        "browser_extensions": request.browser_extensions,
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
        question = CheckQuestion(
            shop_id=request.shop_id,
            hold_id=request.hold_id,
            lines=request.lines,
            reference=request.reference,
            reserve_before=request.reserve_before,
        )
        [check] = await check_requests(engine, [question])
        if check.own is not None:
            return Held.of(check.own)
        if check.reference_hold_id is not None:
            return ReferenceTaken(check.reference_hold_id)
        if check.too_late:
            return TooLate()
        if check.short:
            return Shortage(check.short)


async def check_requests(engine: AsyncEngine, questions: Sequence[CheckQuestion]) -> list[RequestCheck]:
    """Read, in one round trip, what prevents each of the holds.

    Raises DatabaseBusyError and DatabaseUnavailableError.
    """
    lines = [(number, line) for number, question in enumerate(questions, 1) for line in question.lines]
    parameters = {
        "shops": [question.shop_id for question in questions],
        "holds": [question.hold_id for question in questions],
        "references": [question.reference for question in questions],
        "replaces": [question.replace for question in questions],
        "befores": [question.reserve_before or _NEVER for question in questions],
        "numbers": [number for number, _ in lines],
        **lines_as_arrays([line for _, line in lines]),
    }
    return [
        RequestCheck(
            own=hold_from_row(row) if row["id"] is not None else None,
            reference_hold_id=row["other_id"],
            short=tuple(ShortItem(*item) for item in row["short"]),
            too_late=row["too_late"],
        )
        for row in await fetch(engine, _CHECK, parameters)
    ]
