"""Reserves stock for a hold: one statement, one round trip, all lines or none."""

from dataclasses import replace

from psycopg.errors import UniqueViolation
from psycopg.types.json import Jsonb
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.holds import Held, OverLimit, ReferenceTaken, ReserveRequest, Shortage, TooLate
from domain.limits import BuyerLimits
from inventory.checks import CheckQuestion, check_requests
from inventory.fragments import DEMAND
from inventory.holds import lines_as_arrays, one_line_each
from inventory.limits import (
    NO_LIMITS,
    exceeded_limits,
    fetch_in_turn,
    limit_parameters,
    within_order_limits,
)

_REPLACED = "ARRAY[coalesce(%(replaces)s::text, '')]"
"""Of a request that replaces a hold: what that one has does not count for its buyer."""


# Item locks come before the INSERT, in key order, and the new figures are computed from the locked rows: otherwise a
# CHECK is evaluated on the stale version of a row, and the unique reference deadlocks with a settle.
# It returns a row for each line of the new hold.
_RESERVE = """
WITH locked AS MATERIALIZED (
  SELECT i.sku, i."variantKey", d.requested, i.quantity, i.held, i."maxPerOrder", i."maxPerBuyer", 0 AS own
  FROM unnest(%(skus)s::text[], %(variants)s::text[], %(quantities)s::bigint[]) AS d(sku, "variantKey", requested)
  JOIN "InventoryItem" i ON i."shopId" = %(shop)s AND i.sku = d.sku AND i."variantKey" = d."variantKey"
  WHERE NOT EXISTS (SELECT FROM "InventoryHold" WHERE "shopId" = %(shop)s AND id = %(hold)s) AND i."retiredAt" IS NULL
  ORDER BY i.sku, i."variantKey"
  FOR NO KEY UPDATE OF i
), hold AS (
  INSERT INTO "InventoryHold" (id, "shopId", status, "expiresAt", "createdAt", reference, "requestHash",
                               "createdBy"{columns})
  SELECT %(hold)s, %(shop)s, 'active', %(expires)s, %(created)s, %(reference)s, %(hash)s, %(actor)s{values}
  FROM (SELECT count(*) AS n, clock_timestamp() AS at FROM locked WHERE quantity >= requested AND {within_limits}) v
  WHERE v.n = %(items)s AND v.at < %(before)s {and_limits}
  ON CONFLICT DO NOTHING
  RETURNING id
), taken AS (
  UPDATE "InventoryItem" i
  SET quantity = l.quantity - l.requested, held = l.held + l.requested, "updatedAt" = now()
  FROM locked l CROSS JOIN hold
  WHERE i."shopId" = %(shop)s AND i.sku = l.sku AND i."variantKey" = l."variantKey"
  RETURNING i.sku, i."variantKey", i."productId", i."variantAttributes", l.requested
)
INSERT INTO "InventoryHoldItem" ("shopId", "holdId", sku, "variantKey", "productId", "variantAttributes", quantity)
SELECT %(shop)s, %(hold)s, sku, "variantKey", "productId", "variantAttributes", requested FROM taken
RETURNING true AS reserved
"""

# The new hold takes over the units of the old one, which ends in the same statement. Locks in the order of settle: the
# old hold, then the items of both by key. `revision` is for lines that were amended while this waited for the lock: see
# settle. Where another row has the new hold's id, the INSERT raises, so that the old one does not end.
_EXCHANGE = """
WITH seen AS MATERIALIZED (
  SELECT revision FROM "InventoryHold" WHERE "shopId" = %(shop)s AND id = %(replaces)s
), target AS MATERIALIZED (
  SELECT * FROM "InventoryHold" WHERE "shopId" = %(shop)s AND id = %(replaces)s FOR NO KEY UPDATE
), old AS MATERIALIZED (
  SELECT t.* FROM target t JOIN seen USING (revision)
  WHERE t.status = 'active' AND t.reference = %(reference)s
    AND t."paymentSessionId" IS NULL AND t."paymentIntentId" IS NULL
    AND NOT EXISTS (SELECT FROM "InventoryHold" WHERE "shopId" = %(shop)s AND id = %(hold)s)
), own AS MATERIALIZED (
  SELECT l.sku, l."variantKey", sum(l.quantity)::int AS n
  FROM "InventoryHoldItem" l JOIN old ON l."shopId" = old."shopId" AND l."holdId" = old.id
  GROUP BY l.sku, l."variantKey"
), demand AS MATERIALIZED (
  SELECT sku, "variantKey", coalesce(given.requested, 0)::int AS requested, coalesce(own.n, 0) AS back
  FROM ({demand}) given FULL JOIN own USING (sku, "variantKey")
), locked AS MATERIALIZED (
  SELECT i.sku, i."variantKey", d.requested, d.back, i.quantity, i.held, i."productId", i."variantAttributes",
         i."retiredAt", i."maxPerOrder", i."maxPerBuyer", 0 AS own
  FROM old CROSS JOIN demand d
  JOIN "InventoryItem" i ON i."shopId" = %(shop)s AND i.sku = d.sku AND i."variantKey" = d."variantKey"
  ORDER BY i.sku, i."variantKey"
  FOR NO KEY UPDATE OF i
), replaced AS (
  UPDATE "InventoryHold" h
  SET status = 'released', reason = 'replaced', "endedBy" = %(actor)s, "releasedAt" = clock_timestamp(),
      "updatedAt" = now()
  FROM old, (
    SELECT count(*) AS n, clock_timestamp() AS at FROM locked
    WHERE requested = 0
       OR quantity + back >= requested AND "retiredAt" IS NULL AND {within_limits}) v
  WHERE h."shopId" = %(shop)s AND h.id = %(replaces)s
    AND v.n = (SELECT count(*) FROM demand) AND v.at < %(before)s {and_limits}
  RETURNING h.id
), hold AS (
  INSERT INTO "InventoryHold" (id, "shopId", status, "expiresAt", "createdAt", reference, "requestHash",
                               "createdBy", "browserExtensions", buyer, metadata, "warnBeforeSeconds")
  SELECT %(hold)s, %(shop)s, 'active', %(expires)s, %(created)s, %(reference)s, %(hash)s, %(actor)s,
         %(browser_extensions)s, %(buyer)s, %(metadata)s, %(warn)s FROM replaced
  RETURNING id
), moved AS (
  UPDATE "InventoryItem" i
  SET quantity = l.quantity + l.back - l.requested, held = l.held - l.back + l.requested, "updatedAt" = now()
  FROM locked l CROSS JOIN hold
  WHERE i."shopId" = %(shop)s AND i.sku = l.sku AND i."variantKey" = l."variantKey" AND l.back <> l.requested
), lines AS (
  INSERT INTO "InventoryHoldItem" ("shopId", "holdId", sku, "variantKey", "productId", "variantAttributes", quantity)
  SELECT %(shop)s, hold.id, l.sku, l."variantKey", l."productId", l."variantAttributes", l.requested
  FROM locked l CROSS JOIN hold WHERE l.requested > 0
)
SELECT true AS reserved FROM hold
"""


def _statement(template: str, *, with_buyer: bool, optional: bool = True) -> str:
    exceeded = exceeded_limits("locked", without=_REPLACED, with_buyer=True)
    return template.format(
        demand=DEMAND,
        columns=', "browserExtensions", buyer, metadata, "warnBeforeSeconds"' if optional else "",
        values=", %(browser_extensions)s, %(buyer)s, %(metadata)s, %(warn)s" if optional else "",
        within_limits=within_order_limits("locked"),
        and_limits=f"AND NOT EXISTS ({exceeded})" if with_buyer else "",
    )


_STATEMENTS = {
    (exchange, with_buyer): _statement(_EXCHANGE if exchange else _RESERVE, with_buyer=with_buyer)
    for exchange in (False, True)
    for with_buyer in (False, True)
}
"""By whether a hold is exchanged, and whether it is a named buyer's: without one there is nothing to count."""
_PLAIN = _statement(_RESERVE, with_buyer=False, optional=False)
"""Of a new hold that has nothing optional."""


async def reserve(
    engine: AsyncEngine, request: ReserveRequest, limits: BuyerLimits = NO_LIMITS
) -> Held | Shortage | ReferenceTaken | TooLate | OverLimit:
    """Take the stock of every line into a new hold, or return why not. May be repeated: the hold id is the key.

    A hold to replace ends in the same statement, or stays as it is. One with a payment, which has to be closed first,
    or with another hold in its place, is answered with ReferenceTaken.
    Raises DatabaseBusyError (nothing was taken) and DatabaseUnavailableError (unknown: ask again).
    """
    replaces = request.replaces
    while True:
        if await _reserved(engine, request, replaces, limits):
            held = Held.new(request)
            return held if replaces is None else replace(held, replaced=True)
        # A new statement, with a new snapshot: a concurrent attempt may have taken the last unit for this very hold.
        # If nothing prevents the hold any more, the reserve runs again.
        question = CheckQuestion(
            shop_id=request.shop_id,
            hold_id=request.hold_id,
            lines=request.lines,
            reference=request.reference,
            replace=replaces is not None,
            reserve_before=request.reserve_before,
            buyer=request.buyer,
            limits=limits,
        )
        [check] = await check_requests(engine, [question])
        if check.own is not None:
            return Held.of(check.own)
        if check.reference_hold_id is None:
            replaces = None  # the hold to replace has ended otherwise
        elif check.reference_hold_id != replaces or check.reference_has_payment:
            return ReferenceTaken(check.reference_hold_id)
        if check.too_late:
            return TooLate()
        if check.over:
            return OverLimit(check.over)
        if check.short:
            return Shortage(check.short)


async def _reserved(engine: AsyncEngine, request: ReserveRequest, replaces: str | None, limits: BuyerLimits) -> bool:
    """Run the statement, and return whether it made the hold."""
    lines = one_line_each(request.lines)
    parameters: dict[str, object] = {
        "shop": request.shop_id,
        "hold": request.hold_id,
        "created": request.created_at,
        "expires": request.expires_at,
        "before": request.reserve_before,
        "reference": request.reference,
        "hash": request.request_hash,
        "actor": request.actor,
        "items": len(lines),
        **lines_as_arrays(lines),
    }
    statement = _PLAIN
    optional = (request.buyer, request.metadata, request.warn_before_seconds, request.browser_extensions or None)
    if replaces is not None or any(value is not None for value in optional):
        statement = _STATEMENTS[replaces is not None, request.buyer is not None]
        parameters |= {
            "replaces": replaces,
            "browser_extensions": request.browser_extensions,
            "metadata": None if request.metadata is None else Jsonb(request.metadata),
            "warn": request.warn_before_seconds,
            **limit_parameters(limits, buyer=request.buyer, new_buyer=True),
        }
    try:
        return bool(await fetch_in_turn(engine, statement, parameters, buyer=request.buyer))
    except UniqueViolation:  # of an exchange: another attempt has made this very hold
        return False
