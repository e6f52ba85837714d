"""Ends a hold together with its stock: one conditional statement, one round trip."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch
from domain.holds import Hold, HoldStatus, Line
from inventory.fragments import DEMAND
from inventory.holds import COLUMNS, hold_from_row, lines_as_arrays, read_hold


@dataclass(frozen=True, slots=True)
class Settlement:
    """The hold as the database has it now, and whether this statement ended it."""

    changed: bool
    hold: Hold

    @property
    def status(self) -> HoldStatus:
        """How the hold has ended."""
        return self.hold.status

    @property
    def overdue(self) -> timedelta:
        """How long after its deadline the hold ended; negative when it ended before."""
        return self._ended_at - self.hold.expires_at

    @property
    def age(self) -> timedelta:
        """From the hold's creation to its end."""
        return self._ended_at - self.hold.created_at

    @property
    def _ended_at(self) -> datetime:
        hold = self.hold
        return hold.committed_at or hold.released_at or hold.expired_at or hold.updated_at


# The hold row is locked without a status filter: with one, the row would be judged as it was before the lock. While the
# statement waits for that lock, the hold may be amended: its lines are read as they were before. `revision` shows it;
# then nothing is changed, and the statement runs again. A hold that was never amended has revision 0, so the first
# attempt does not read what the revision was before the lock: few holds need the second.
# Each plan node that hands on the columns of a hold costs some microseconds: only the UPDATE returns them.
_STATEMENT = """
WITH {wanted} target AS MATERIALIZED (
  SELECT status, revision FROM "InventoryHold"
  WHERE "shopId" = %(shop)s AND id = %(hold)s
  FOR NO KEY UPDATE
), line AS MATERIALIZED (
  SELECT sku, "variantKey", quantity FROM "InventoryHoldItem" WHERE "holdId" = %(hold)s AND "shopId" = %(shop)s
), demand AS MATERIALIZED (
  SELECT l.sku, l."variantKey", sum(l.quantity) AS n, {sold} AS sold
  FROM target t CROSS JOIN line l {join}
  WHERE t.status = 'active' AND t.revision = {revision}
  GROUP BY l.sku, l."variantKey"
), locked AS MATERIALIZED (
  SELECT i.sku, i."variantKey", i.quantity, i.held, d.n, d.sold
  FROM "InventoryItem" i JOIN demand d ON i.sku = d.sku AND i."variantKey" = d."variantKey"
  WHERE i."shopId" = %(shop)s
  ORDER BY i.sku, i."variantKey"
  FOR NO KEY UPDATE OF i
), moved AS (
  UPDATE "InventoryItem" i
  SET held = l.held - l.n, quantity = l.quantity + l.n - l.sold, "updatedAt" = now()
  FROM locked l
  WHERE i."shopId" = %(shop)s AND i.sku = l.sku AND i."variantKey" = l."variantKey"
  RETURNING i.sku, i."variantKey", i.quantity + i.held AS "onHand", l.sold
), ledger AS (
  INSERT INTO "InventoryMovement" ("shopId", sku, "variantKey", kind, delta, "onHand", "holdId", actor, reason)
  SELECT %(shop)s, sku, "variantKey", 'commit', -sold, "onHand", %(hold)s, %(actor)s, %(reason)s
  FROM moved WHERE sold > 0
)
UPDATE "InventoryHold" h
SET status = %(to)s, reason = %(reason)s, "endedBy" = %(actor)s, "updatedAt" = now(),
    "committedAt" = CASE WHEN %(to)s = 'committed' THEN clock_timestamp() END,
    "releasedAt" = CASE WHEN %(to)s = 'released' THEN clock_timestamp() END,
    "expiredAt" = CASE WHEN %(to)s = 'expired' THEN clock_timestamp() END,
    "paymentIntentId" = coalesce(%(payment)s, h."paymentIntentId"),
    "paymentSessionId" = coalesce(%(session)s, h."paymentSessionId"),
    "amountTotal" = coalesce(%(amount)s::bigint, h."amountTotal"),
    currency = coalesce(%(currency)s, h.currency),
    "paidElsewhere" = %(elsewhere)s{set_sold}
FROM target t, (SELECT count(*) FROM locked) AS items_locked_first
WHERE h."shopId" = %(shop)s AND h.id = %(hold)s AND t.status = 'active' AND t.revision = {revision}
RETURNING {columns},
  (SELECT coalesce(json_agg(json_build_array(sku, "variantKey", quantity) ORDER BY sku, "variantKey"), '[]')
   FROM line) AS lines
"""

_REVISION_BEFORE = '(SELECT revision FROM "InventoryHold" WHERE "shopId" = %(shop)s AND id = %(hold)s)'
_SETTLE, _SETTLE_AMENDED = (
    _STATEMENT.format(
        wanted="",
        revision=revision,
        sold="CASE WHEN %(to)s = 'committed' THEN sum(l.quantity) ELSE 0 END",
        join="",
        set_sold="",
        columns=COLUMNS,
    )
    for revision in ("0", _REVISION_BEFORE)
)
# A change of the lines may have come first: then at most what the hold still has is sold.
_SELL_PART = _STATEMENT.format(
    wanted=f"wanted AS ({DEMAND}),",
    revision=_REVISION_BEFORE,
    sold="least(sum(l.quantity), coalesce(max(w.requested), 0))",
    join='LEFT JOIN wanted w ON w.sku = l.sku AND w."variantKey" = l."variantKey"',
    set_sold=""",
      sold = (SELECT coalesce(jsonb_agg(jsonb_build_object('sku', sku, 'variantKey', "variantKey", 'quantity', d.sold)
                                        ORDER BY sku, "variantKey") FILTER (WHERE d.sold > 0), '[]')
              FROM demand d HAVING sum(d.sold) < sum(d.n))""",
    columns=COLUMNS,
)


async def settle(
    engine: AsyncEngine,
    *,
    shop_id: str,
    hold_id: str,
    to: HoldStatus,
    reason: str | None,
    actor: str,
    payment_intent_id: str | None = None,
    payment_session_id: str | None = None,
    amount_total: int | None = None,
    currency: str | None = None,
    sold: Sequence[Line] | None = None,
    paid_elsewhere: bool = False,
) -> Settlement | None:
    """End an active hold and move its stock, or return how it has ended already; None if there is no such hold.

    A commit sells all units, or with `sold` only these, as far as the hold has them; the others are given back. May be
    repeated. Raises DatabaseBusyError (nothing changed), DatabaseUnavailableError (unknown: ask again) and
    psycopg's IntegrityError when the item's `held` had drifted below what the hold has (nothing changed).
    """
    parameters: dict[str, object] = {
        "shop": shop_id,
        "hold": hold_id,
        "to": to,
        "reason": reason,
        "actor": actor,
        "payment": payment_intent_id,
        "session": payment_session_id,
        "amount": amount_total,
        "currency": currency,
        "elsewhere": paid_elsewhere,
    }
    statement = _SETTLE if sold is None else _SELL_PART
    if sold is not None:
        parameters |= lines_as_arrays(sold)
    while True:
        if rows := await fetch(engine, statement, parameters):
            return Settlement(changed=True, hold=hold_from_row(rows[0]))
        hold = await read_hold(engine, shop_id, hold_id)
        if hold is None:
            return None
        if hold.status is not HoldStatus.ACTIVE:
            return Settlement(changed=False, hold=hold)
        statement = _SETTLE_AMENDED if sold is None else _SELL_PART
