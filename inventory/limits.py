"""The limits of an order and of a buyer, for the statements that take stock.

Two statements of one buyer run one after the other: each is a second statement of its transaction, behind a lock of the
buyer, so that it sees all that the buyer has. The lock comes before every lock of a row.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.database import Row, fetch, fetch_on
from core.transactions import in_transaction
from domain.limits import BuyerLimits, ExceededLimit

NO_LIMITS = BuyerLimits()

_LOCK_BUYER = """
SELECT pg_advisory_xact_lock(hashtextextended(%(shop)s || chr(31) || %(buyer)s, 8371))
"""


def within_order_limits(row: str) -> str:
    """Return the condition that a row's `requested` is not above what one order may have of the item.

    A buyer who is not named is taken for a new one at each order.
    """
    return f'coalesce({row}.requested <= least({row}."maxPerOrder", {row}."maxPerBuyer"), true)'


_PARAMETERS = {name: f"%({name})s" for name in ("shop", "buyer", "new_buyer", "window", "max_units", "max_holds")}


def exceeded_limits(items: str, *, without: str, with_buyer: bool, parameters: Mapping[str, str] = _PARAMETERS) -> str:
    """Return a query of the limits that a request would pass, as JSON arrays `told` of the fields of ExceededLimit.

    `items` is the name of a relation with sku, variantKey, requested, own (the units of the hold that is changed),
    maxPerOrder and maxPerBuyer. `without`: an expression, the array of the ids of holds that do not count. The units
    that were there before are nobody's offence: only a line that grows can pass a limit, and any line of a new buyer.
    Without a buyer there is nothing to count. `parameters`: the expressions of what `limit_parameters` has, and of the
    shop, where they are not the statement's own parameters.
    """
    return (_OF_BUYER if with_buyer else _OF_ORDER).format(items=items, without=without, **parameters)


_OF_ORDER = """
  SELECT json_build_array('maxPerOrder', "maxPerOrder", 0, requested, sku, "variantKey") AS told
  FROM {items} WHERE requested > "maxPerOrder"
  UNION ALL
  SELECT json_build_array('maxPerBuyer', "maxPerBuyer", 0, requested, sku, "variantKey")
  FROM {items} WHERE requested > "maxPerBuyer"
"""

_OF_BUYER = """
  WITH limited AS (
    SELECT i.*, i.requested > i.own OR {new_buyer} AS grows FROM {items} i WHERE i.requested > 0
  ), counted AS (
    SELECT h.id, h.status FROM "InventoryHold" h
    WHERE h."shopId" = {shop} AND h.buyer = {buyer}::text AND h.id <> ALL ({without})
      AND (h.status = 'active'
           OR h.status = 'committed' AND h."committedAt" > now() - make_interval(secs => {window}))
  ), units AS (
    SELECT l.sku, l."variantKey", sum(CASE WHEN c.status = 'active' THEN l.quantity ELSE coalesce((
             SELECT -sum(m.delta) FROM "InventoryMovement" m
             WHERE m."shopId" = {shop} AND m."holdId" = c.id AND m.sku = l.sku
               AND m."variantKey" = l."variantKey"), 0) END) AS n
    FROM counted c JOIN "InventoryHoldItem" l ON l."shopId" = {shop} AND l."holdId" = c.id
    GROUP BY l.sku, l."variantKey"
  ), total AS (
    SELECT (SELECT coalesce(sum(n), 0) FROM units) AS has, coalesce(sum(requested), 0) AS requested,
           coalesce(bool_or(grows), false) AS grows
    FROM limited
  )
  SELECT json_build_array('maxPerOrder', "maxPerOrder", 0, requested, sku, "variantKey") AS told
  FROM limited WHERE grows AND requested > "maxPerOrder"
  UNION ALL
  SELECT json_build_array('maxPerBuyer', "maxPerBuyer", coalesce(u.n, 0), requested, sku, "variantKey")
  FROM limited LEFT JOIN units u USING (sku, "variantKey") WHERE grows AND requested + coalesce(u.n, 0) > "maxPerBuyer"
  UNION ALL
  SELECT json_build_array('maxUnitsPerBuyer', {max_units}::int, has, requested, NULL, NULL)
  FROM total WHERE {buyer}::text IS NOT NULL AND grows AND has + requested > {max_units}::int
  UNION ALL
  SELECT json_build_array('maxActiveHoldsPerBuyer', {max_holds}::int, n, 1, NULL, NULL)
  FROM (SELECT count(*) FILTER (WHERE status = 'active') AS n FROM counted) active
  WHERE {buyer}::text IS NOT NULL AND {new_buyer} AND n + 1 > {max_holds}::int
"""


def limit_parameters(limits: BuyerLimits, *, buyer: str | None, new_buyer: bool) -> dict[str, object]:
    """Return the parameters of `exceeded_limits`; `new_buyer`: the hold is new to this buyer."""
    return {
        "buyer": buyer,
        "new_buyer": new_buyer,
        "window": limits.window_seconds,
        "max_units": limits.units,
        "max_holds": limits.active_holds,
    }


def limits_from_json(told: Sequence[Sequence[Any]]) -> tuple[ExceededLimit, ...]:
    """Return the limits that `exceeded_limits` found."""
    return tuple(ExceededLimit(*each) for each in told)


async def fetch_in_turn(
    engine: AsyncEngine, statement: str, parameters: Mapping[str, object], *, buyer: str | None
) -> Sequence[Row]:
    """Run an idempotent statement that counts what a buyer has; it sees every earlier one of that buyer.

    Without a buyer there is nothing to wait for: it is one round trip. Raises as `fetch`.
    """
    if buyer is None:
        return await fetch(engine, statement, parameters)

    async def work(connection: AsyncConnection) -> Sequence[Row]:
        await fetch_on(connection, _LOCK_BUYER, {"shop": parameters["shop"], "buyer": buyer})
        return await fetch_on(connection, statement, parameters)

    return await in_transaction(engine, work)
