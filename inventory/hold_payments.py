"""A hold's payment in the database: attaches it, finds the hold by it, and claims the stock for a late payment."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch
from domain.holds import Hold
from domain.payments import ClaimOutcome
from inventory.fragments import HOLD_LINES
from inventory.holds import COLUMNS, hold_from_row

# Another active hold to which the payment is attached. OFFSET 0: found by the payment; where few holds were active when
# the table was last analyzed, Postgres would read all that are active.
_OTHER_ACTIVE_HOLD = """
  SELECT FROM (
    SELECT "shopId", id, status FROM "InventoryHold"
    WHERE "paymentSessionId" = %(session)s OR "paymentIntentId" = %(intent)s OFFSET 0
  ) other
  WHERE other.status = 'active' AND (other."shopId", other.id) <> (%(shop)s, %(hold)s)
"""

_ATTACH = f"""
UPDATE "InventoryHold" h
SET "paymentSessionId" = %(session)s, "paymentIntentId" = %(intent)s, "amountTotal" = %(amount)s::bigint,
    currency = %(currency)s, "updatedAt" = now()
WHERE h."shopId" = %(shop)s AND h.id = %(hold)s AND h.status = 'active' AND NOT EXISTS ({_OTHER_ACTIVE_HOLD})
RETURNING id
"""  # noqa: S608 - constants

# Two concurrent attaches of one payment do not see each other in the statement above; the later one sees it in a
# statement of its own.
_WITHDRAW = f"""
UPDATE "InventoryHold" h
SET "paymentSessionId" = NULL, "paymentIntentId" = NULL, "amountTotal" = NULL, currency = NULL, "updatedAt" = now()
WHERE h."shopId" = %(shop)s AND h.id = %(hold)s AND h.status = 'active' AND EXISTS ({_OTHER_ACTIVE_HOLD})
RETURNING id
"""  # noqa: S608 - constants

_HAS_OTHER = f"SELECT EXISTS ({_OTHER_ACTIVE_HOLD}) AS other"

_FIND = f"""
SELECT {COLUMNS}, {HOLD_LINES} FROM "InventoryHold" h
WHERE h."paymentSessionId" = %(session)s OR h."paymentIntentId" = %(intent)s
ORDER BY h.status = 'active' DESC, h."createdAt" DESC LIMIT 1
"""  # noqa: S608 - constants

# The order of locks is that of settle: first the hold, then its items by key. As there, it runs again where it has read
# the lines from before an amendment. A page that was closed for an amendment was for other items: its payment, which
# was in flight then, buys nothing by itself.
_CLAIM = """
WITH seen AS MATERIALIZED (
  SELECT revision FROM "InventoryHold" WHERE "shopId" = %(shop)s AND id = %(hold)s
), target AS MATERIALIZED (
  SELECT id, "shopId", status, reason, sold, "paidElsewhere", "paymentIntentId", "paymentSessionId", revision
  FROM "InventoryHold"
  WHERE "shopId" = %(shop)s AND id = %(hold)s
  FOR NO KEY UPDATE
), changed AS MATERIALIZED (
  SELECT FROM "InventoryHoldAmendment"
  WHERE "shopId" = %(shop)s AND "holdId" = %(hold)s AND "closedSessionId" IN (%(session)s, %(origin)s)
), demand AS MATERIALIZED (
  SELECT l.sku, l."variantKey", sum(l.quantity) AS n
  FROM "InventoryHoldItem" l JOIN target t ON l."shopId" = t."shopId" AND l."holdId" = t.id
  WHERE t.status IN ('released', 'expired') AND %(take)s AND t.revision = (SELECT revision FROM seen)
    AND NOT EXISTS (SELECT FROM changed)
  GROUP BY l.sku, l."variantKey"
), locked AS MATERIALIZED (
  SELECT i.sku, i."variantKey", i.quantity, i.held, d.n
  FROM "InventoryItem" i JOIN demand d ON i.sku = d.sku AND i."variantKey" = d."variantKey"
  WHERE i."shopId" = %(shop)s
  ORDER BY i.sku, i."variantKey"
  FOR NO KEY UPDATE OF i
), verdict AS MATERIALIZED (
  SELECT count(*) > 0 AND bool_and(coalesce(l.quantity, 0) >= d.n) AS enough
  FROM demand d LEFT JOIN locked l ON l.sku = d.sku AND l."variantKey" = d."variantKey"
), ended AS (
  UPDATE "InventoryHold" h
  SET status = 'committed', "committedAt" = clock_timestamp(), "releasedAt" = NULL, "expiredAt" = NULL,
      "updatedAt" = now(), reason = 'late_payment', "endedBy" = 'stripe',
      "paymentIntentId" = coalesce(%(intent)s, h."paymentIntentId"),
      "paymentSessionId" = coalesce(%(session)s, h."paymentSessionId"),
      "amountTotal" = coalesce(%(amount)s::bigint, h."amountTotal"), currency = coalesce(%(currency)s, h.currency)
  FROM verdict v WHERE v.enough AND h."shopId" = %(shop)s AND h.id = %(hold)s
  RETURNING h.id
), recorded AS (
  UPDATE "InventoryHold" h
  SET "paymentIntentId" = %(intent)s, "paymentSessionId" = coalesce(%(session)s, h."paymentSessionId"),
      "amountTotal" = coalesce(%(amount)s::bigint, h."amountTotal"), currency = coalesce(%(currency)s, h.currency),
      "updatedAt" = now()
  FROM target t
  WHERE h."shopId" = %(shop)s AND h.id = %(hold)s AND t.status = 'committed' AND t.sold IS NULL
    AND NOT t."paidElsewhere" AND NOT EXISTS (SELECT FROM changed)
    AND t."paymentIntentId" IS NULL AND %(intent)s::text IS NOT NULL
  RETURNING h.id
), moved AS (
  UPDATE "InventoryItem" i
  SET quantity = l.quantity - l.n, "updatedAt" = now()
  FROM locked l CROSS JOIN ended
  WHERE i."shopId" = %(shop)s AND i.sku = l.sku AND i."variantKey" = l."variantKey"
  RETURNING i.sku, i."variantKey", i.quantity + i.held AS "onHand", l.n
), ledger AS (
  INSERT INTO "InventoryMovement" ("shopId", sku, "variantKey", kind, delta, "onHand", "holdId", actor, reason)
  SELECT %(shop)s, sku, "variantKey", 'commit', -n, "onHand", %(hold)s, 'stripe', 'late_payment' FROM moved
  RETURNING 1
)
SELECT CASE
    WHEN EXISTS (SELECT FROM ended) THEN 'reacquired'
    WHEN EXISTS (SELECT FROM recorded) THEN 'recorded'
    WHEN EXISTS (SELECT FROM changed)
      AND (t.status IN ('released', 'expired') OR t.status = 'committed' AND t."paymentIntentId" IS NULL) THEN 'changed'
    WHEN t.status IN ('released', 'expired') THEN CASE WHEN %(take)s THEN 'short' ELSE 'declined' END
    WHEN t.status = 'active' THEN 'active'
    WHEN t.sold IS NOT NULL OR t."paidElsewhere" THEN 'sold_in_part'
    WHEN t."paymentIntentId" = %(intent)s OR (%(intent)s::text IS NULL AND t."paymentSessionId" = %(session)s)
      THEN 'already'
    ELSE 'second_payment'
  END AS outcome, t.reason = 'late_payment' AS reacquired_before, t."paidElsewhere" AS paid_elsewhere,
  t.revision <> (SELECT revision FROM seen) AS outdated
FROM target t
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a late payment can buy."""

    outcome: ClaimOutcome
    reacquired_before: bool
    """With `already`: whether an earlier claim of this payment took the stock again."""
    paid_elsewhere: bool = False
    """With `sold_in_part`: whether the shop sold the hold as paid elsewhere."""


async def attach_payment(
    engine: AsyncEngine,
    shop_id: str,
    hold_id: str,
    *,
    session_id: str | None,
    intent_id: str | None,
    amount_total: int | None = None,
    currency: str | None = None,
) -> bool:
    """Write the payment to an active hold, replacing an earlier one. Returns False if another active hold has it.

    Of several holds that claim one payment at once, at most one gets it. A hold that has ended is not changed. May be
    repeated. Raises DatabaseBusyError and DatabaseUnavailableError.
    """
    parameters = {
        "shop": shop_id,
        "hold": hold_id,
        "session": session_id,
        "intent": intent_id,
        "amount": amount_total,
        "currency": currency,
    }
    if await fetch(engine, _ATTACH, parameters):
        return not await fetch(engine, _WITHDRAW, parameters)
    return not (await fetch(engine, _HAS_OTHER, parameters))[0]["other"]


async def find_hold(engine: AsyncEngine, *, session_id: str | None, intent_id: str | None) -> Hold | None:
    """Return the hold to which the payment is attached, the active one before those that have ended."""
    rows = await fetch(engine, _FIND, {"session": session_id, "intent": intent_id})
    return hold_from_row(rows[0]) if rows else None


async def claim_late_payment(
    engine: AsyncEngine,
    shop_id: str,
    hold_id: str,
    *,
    session_id: str | None,
    intent_id: str | None,
    take: bool,
    amount_total: int | None = None,
    currency: str | None = None,
    recovered_from: str | None = None,
) -> Claim:
    """Return what a payment can buy that came after its hold had ended; with `take`, take the stock again if possible.

    `recovered_from`: the page of which its session is a copy, with the same items.
    All of the hold's lines or none, in one statement: the hold is then committed, with the reason `late_payment`.
    May be repeated. Raises DatabaseBusyError (nothing changed) and DatabaseUnavailableError (unknown: ask again).
    """
    parameters = {
        "shop": shop_id,
        "hold": hold_id,
        "session": session_id,
        "intent": intent_id,
        "take": take,
        "origin": recovered_from,
        "amount": amount_total,
        "currency": currency,
    }
    while True:
        rows = await fetch(engine, _CLAIM, parameters)
        if not rows:
            return Claim("missing", reacquired_before=False)
        if not rows[0]["outdated"]:
            break
    outcome: ClaimOutcome = rows[0]["outcome"]
    return Claim(
        outcome,
        reacquired_before=outcome == "already" and bool(rows[0]["reacquired_before"]),
        paid_elsewhere=bool(rows[0]["paid_elsewhere"]),
    )
