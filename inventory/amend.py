"""Amends an active hold: its items, reference, buyer and deadline, all or nothing, in one statement."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.errors import UniqueViolation
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import Row, fetch
from domain.amendments import Amended, AmendRequest, KeyReused, NotActive
from domain.holds import Line, OverLimit, ReferenceTaken, Shortage, ShortItem
from domain.limits import BuyerLimits
from inventory.fragments import DEMAND, HOLD_LINES
from inventory.holds import COLUMNS, lines_as_arrays, read_hold
from inventory.limits import NO_LIMITS, exceeded_limits, fetch_in_turn, limit_parameters, limits_from_json

Outcome = Amended | Shortage | ReferenceTaken | OverLimit | NotActive | KeyReused


def _described(row: str, items: str) -> str:
    """Return the JSON object of what an amendment can change: of a row of InventoryHold and its items."""
    return f"""jsonb_build_object('items', {items}, 'reference', {row}.reference, 'buyer', {row}.buyer,
                               'expiresAt', {row}."expiresAt")"""


def _items(units: str) -> str:
    return f"""(SELECT jsonb_agg(jsonb_build_array(sku, "variantKey", {units}) ORDER BY sku, "variantKey")
                               FROM change WHERE {units} > 0)"""  # noqa: S608 - constants


# Locks in the order of settle: the hold, then its old and new items by key. A statement that waited for the hold's lock
# sees the lines as they were before: where `revision` differs from what this snapshot has, it changes nothing and runs
# again. The hold's own units are available to it.
_AMEND = f"""
WITH seen AS MATERIALIZED (
  SELECT revision FROM "InventoryHold" WHERE "shopId" = %(shop)s AND id = %(hold)s
), target AS MATERIALIZED (
  SELECT * FROM "InventoryHold" WHERE "shopId" = %(shop)s AND id = %(hold)s FOR NO KEY UPDATE
), earlier AS MATERIALIZED (
  SELECT "requestHash" FROM "InventoryHoldAmendment"
  WHERE "shopId" = %(shop)s AND "holdId" = %(hold)s AND "requestId" = %(request)s
), live AS MATERIALIZED (
  SELECT t.* FROM target t JOIN seen USING (revision)
  WHERE t.status = 'active' AND t.buyer IS NOT DISTINCT FROM %(buyer_before)s AND NOT EXISTS (SELECT FROM earlier)
), own AS MATERIALIZED (
  SELECT l.sku, l."variantKey", sum(l.quantity)::int AS own, min(l.id) AS line
  FROM "InventoryHoldItem" l JOIN live ON l."shopId" = live."shopId" AND l."holdId" = live.id
  GROUP BY l.sku, l."variantKey"
), demand AS MATERIALIZED (
  SELECT sku, "variantKey", requested::int FROM ({DEMAND}) given WHERE %(new_items)s
  UNION ALL SELECT sku, "variantKey", own FROM own WHERE NOT %(new_items)s
), change AS MATERIALIZED (
  SELECT sku, "variantKey", coalesce(d.requested, 0) AS requested, coalesce(own.own, 0) AS own, own.line
  FROM demand d FULL JOIN own USING (sku, "variantKey")
), locked AS MATERIALIZED (
  SELECT i.sku, i."variantKey", i.quantity, i.held, i."productId", i."variantAttributes", i."retiredAt",
         i."maxPerOrder", i."maxPerBuyer", c.requested, c.own, c.line
  FROM live CROSS JOIN change c
  JOIN "InventoryItem" i ON i."shopId" = %(shop)s AND i.sku = c.sku AND i."variantKey" = c."variantKey"
  ORDER BY i.sku, i."variantKey"
  FOR NO KEY UPDATE OF i
), short AS MATERIALIZED (
  SELECT * FROM (
    SELECT c.sku, c."variantKey", c.requested, l.sku IS NOT NULL AS known, l."retiredAt" IS NOT NULL AS retired,
           c.own + CASE WHEN l."retiredAt" IS NULL THEN coalesce(l.quantity, 0) ELSE 0 END AS available
    FROM live CROSS JOIN change c LEFT JOIN locked l USING (sku, "variantKey")
  ) stock WHERE requested > available
), over AS MATERIALIZED ({exceeded_limits("locked", without="ARRAY[%(hold)s]", with_buyer=True)}
), other AS MATERIALIZED (
  SELECT id FROM (
    SELECT id, status FROM "InventoryHold" WHERE "shopId" = %(shop)s AND reference = %(reference)s OFFSET 0
  ) named WHERE status = 'active' AND id <> %(hold)s
), changed AS (
  UPDATE "InventoryHold" h
  SET revision = t.revision + 1, reference = coalesce(%(reference)s, t.reference),
      buyer = coalesce(%(new_buyer_id)s, t.buyer), "expiresAt" = greatest(t."expiresAt", %(expires)s),
      "updatedAt" = now()
  FROM live t, (SELECT count(*) FROM locked) AS items_locked_first
  WHERE h."shopId" = %(shop)s AND h.id = %(hold)s
    AND NOT EXISTS (SELECT FROM short) AND NOT EXISTS (SELECT FROM over) AND NOT EXISTS (SELECT FROM other)
  RETURNING h.*
), moved AS (
  UPDATE "InventoryItem" i
  SET quantity = l.quantity + l.own - l.requested, held = l.held - l.own + l.requested, "updatedAt" = now()
  FROM locked l CROSS JOIN changed
  WHERE i."shopId" = %(shop)s AND i.sku = l.sku AND i."variantKey" = l."variantKey" AND l.own <> l.requested
), removed AS (
  DELETE FROM "InventoryHoldItem" l USING changed
  WHERE l."shopId" = %(shop)s AND l."holdId" = %(hold)s
    AND NOT EXISTS (SELECT FROM change c WHERE c.line = l.id AND c.requested > 0)
), kept AS (
  UPDATE "InventoryHoldItem" l SET quantity = c.requested
  FROM change c CROSS JOIN changed
  WHERE l.id = c.line AND c.requested > 0 AND l.quantity <> c.requested
), added AS (
  INSERT INTO "InventoryHoldItem" ("shopId", "holdId", sku, "variantKey", "productId", "variantAttributes", quantity)
  SELECT %(shop)s, %(hold)s, l.sku, l."variantKey", l."productId", l."variantAttributes", l.requested
  FROM locked l CROSS JOIN changed WHERE l.line IS NULL
), noted AS (
  INSERT INTO "InventoryHoldAmendment" ("shopId", "holdId", "requestId", "requestHash", before, after,
                                        "closedSessionId", actor)
  SELECT %(shop)s, %(hold)s, %(request)s, %(hash)s, {_described("t", _items("own"))},
         {_described("c", _items("requested"))}, %(closed)s, %(actor)s
  FROM changed c CROSS JOIN live t
), noted_items AS (
  INSERT INTO "InventoryHoldAmendmentItem" ("shopId", "holdId", sku, "variantKey", before, after, actor)
  SELECT %(shop)s, %(hold)s, sku, "variantKey", own, requested, %(actor)s
  FROM change CROSS JOIN changed WHERE own <> requested ORDER BY sku, "variantKey"
)
SELECT {COLUMNS}, EXISTS (SELECT FROM changed) AS changed, (SELECT "requestHash" FROM earlier) AS earlier_hash,
       CASE WHEN EXISTS (SELECT FROM changed) THEN {_items("requested")}
            ELSE (SELECT lines::jsonb FROM (SELECT {HOLD_LINES}) own_lines) END AS lines,
       EXISTS (SELECT FROM live) AS live, (SELECT id FROM other) AS other_id,
       (SELECT json_agg(json_build_array(sku, "variantKey", requested, available, known, retired)
                        ORDER BY sku, "variantKey") FROM short) AS short,
       (SELECT json_agg(told) FROM over) AS over
FROM (SELECT * FROM changed UNION ALL SELECT * FROM target WHERE NOT EXISTS (SELECT FROM changed)) h
"""  # noqa: S608 - constants


async def amend(engine: AsyncEngine, request: AmendRequest, limits: BuyerLimits = NO_LIMITS) -> Outcome:
    """Make the change, or return why not; nothing was changed then. May be repeated: the request's id is the key.

    A repeat returns the hold as it is, also when it has ended since. Raises DatabaseBusyError (nothing was changed),
    DatabaseUnavailableError (unknown: ask again), and psycopg's IntegrityError when an item's `held` had drifted below
    what the hold has (nothing was changed).
    """
    while True:
        hold = await read_hold(engine, request.shop_id, request.hold_id)
        if hold is None:
            return NotActive()
        try:
            rows = await _run(engine, request, hold.buyer, limits)
        except UniqueViolation:
            continue  # another hold took the reference, or another attempt made this change: the next one sees it
        outcome = _outcome(rows[0], request) if rows else NotActive()
        if outcome is not None:
            return outcome


async def _run(
    engine: AsyncEngine, request: AmendRequest, buyer_before: str | None, limits: BuyerLimits
) -> "tuple[Row, ...]":
    buyer = request.buyer if request.buyer is not None else buyer_before
    parameters: dict[str, Any] = {
        "shop": request.shop_id,
        "hold": request.hold_id,
        "request": request.request_id,
        "hash": request.request_hash,
        "actor": request.actor,
        "new_items": request.lines is not None,
        "reference": request.reference,
        "new_buyer_id": request.buyer,
        "buyer_before": buyer_before,
        "expires": request.expires_at,
        "closed": request.closed_session,
        **lines_as_arrays(request.lines or ()),
        **limit_parameters(limits, buyer=buyer, new_buyer=buyer != buyer_before),
    }
    return tuple(await fetch_in_turn(engine, _AMEND, parameters, buyer=buyer))


def _outcome(row: Row, request: AmendRequest) -> Outcome | None:
    """Return what the statement did, None where it has to run again with a new snapshot."""
    if row["earlier_hash"] not in (None, request.request_hash):
        return KeyReused()
    if row["changed"] or row["earlier_hash"] is not None:
        lines = tuple(Line(*line) for line in row["lines"])
        return Amended(lines, row["expiresAt"], row["reference"], row["buyer"], changed=row["changed"])
    if row["status"] != "active":
        return NotActive()
    return _refusal(row) if row["live"] else None


def _refusal(row: Row) -> OverLimit | Shortage | ReferenceTaken | None:
    if row["over"]:
        return OverLimit(limits_from_json(row["over"]))
    if row["short"]:
        return Shortage(tuple(ShortItem(*item) for item in row["short"]))
    return ReferenceTaken(row["other_id"]) if row["other_id"] is not None else None


_OF_HOLD = """
SELECT "createdAt", actor, before, after FROM "InventoryHoldAmendment"
WHERE "shopId" = %(shop)s AND "holdId" = %(hold)s
UNION ALL
SELECT (a ->> 'createdAt')::timestamptz, a ->> 'actor', a -> 'before', a -> 'after'
FROM "InventoryHoldArchive" h CROSS JOIN LATERAL jsonb_array_elements(h.hold -> 'amendments') a
WHERE h."shopId" = %(shop)s AND h.id = %(hold)s
ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Amendment:
    """A change that was made of a hold."""

    at: datetime
    actor: str
    before: Mapping[str, Any]
    """`items` as arrays of SKU, variant and units, `reference`, `buyer` and `expiresAt`."""
    after: Mapping[str, Any]


async def amendments_of(engine: AsyncEngine, shop_id: str, hold_id: str) -> list[Amendment]:
    """Return the changes of a hold, archived or not, in order of time."""
    rows = await fetch(engine, _OF_HOLD, {"shop": shop_id, "hold": hold_id})
    return [Amendment(row["createdAt"], row["actor"], row["before"], row["after"]) for row in rows]


_CLOSED_PAGES = """
SELECT "closedSessionId" FROM "InventoryHoldAmendment"
WHERE "shopId" = %(shop)s AND "holdId" = %(hold)s AND "closedSessionId" IS NOT NULL
ORDER BY "createdAt"
"""


async def closed_pages_of(engine: AsyncEngine, shop_id: str, hold_id: str) -> tuple[str, ...]:
    """Return the Checkout Sessions that were closed for changes of the hold, in order of time."""
    rows = await fetch(engine, _CLOSED_PAGES, {"shop": shop_id, "hold": hold_id})
    return tuple(row["closedSessionId"] for row in rows)


_READ_AMENDMENT = """
SELECT "requestHash", "closedSessionId" FROM "InventoryHoldAmendment"
WHERE "shopId" = %(shop)s AND "holdId" = %(hold)s AND "requestId" = %(request)s
"""


async def read_amendment(
    engine: AsyncEngine, shop_id: str, hold_id: str, request_id: str
) -> tuple[str, str | None] | None:
    """Return the digest of the request that made this amendment, and the page that was closed for it; None if none."""
    rows = await fetch(engine, _READ_AMENDMENT, {"shop": shop_id, "hold": hold_id, "request": request_id})
    return (rows[0]["requestHash"], rows[0]["closedSessionId"]) if rows else None
