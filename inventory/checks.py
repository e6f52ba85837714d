"""Checks what prevents holds: one read, one round trip, for many requests."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch
from domain.holds import Hold, Line, ShortItem
from domain.limits import BuyerLimits, ExceededLimit
from inventory.fragments import HOLD_LINES
from inventory.holds import hold_from_row, lines_as_arrays
from inventory.limits import NO_LIMITS, exceeded_limits, limits_from_json


@dataclass(frozen=True, slots=True)
class CheckQuestion:
    """A request to hold, of which is asked what prevents it.

    With `replace`, the stock of the hold that has the reference counts as available: it would be exchanged.
    """

    shop_id: str
    hold_id: str
    lines: tuple[Line, ...]
    reference: str | None = None
    replace: bool = False
    reserve_before: datetime | None = None
    buyer: str | None = None
    limits: BuyerLimits = NO_LIMITS


@dataclass(frozen=True, slots=True)
class RequestCheck:
    """What one read tells about a request to hold: its own hold, another with its reference, and short items."""

    own: Hold | None
    reference_hold_id: str | None
    short: tuple[ShortItem, ...]
    too_late: bool
    over: tuple[ExceededLimit, ...] = ()
    """The limits that the hold would pass."""
    reference_has_payment: bool = False
    """Whether that other hold has a payment, which has to be closed before it can be exchanged."""


_OF_REQUEST = {
    "shop": "r.shop",
    "buyer": "r.buyer",
    "new_buyer": "true",
    "window": "r.window_seconds",
    "max_units": "r.max_units",
    "max_holds": "r.max_holds",
}


def _over(*, with_buyer: bool) -> str:
    without = "ARRAY[CASE WHEN r.replace THEN coalesce(other.id, '') ELSE '' END]"
    limits = exceeded_limits("items", without=without, with_buyer=with_buyer, parameters=_OF_REQUEST)
    return f"(SELECT json_agg(told) FROM ({limits}) exceeded)"  # noqa: S608 - constants


# OFFSET 0 keeps each lookup by its key, whatever the planner guesses about the number of requests and of rows: where
# few holds were active when the table was last analyzed, it would read all that are active. unnest fills a list that
# is NULL with NULLs.
_STATEMENT = """
WITH line AS MATERIALIZED (
  SELECT number, sku, "variantKey", sum(quantity) AS requested
  FROM unnest(%(numbers)s::int[], %(skus)s::text[], %(variants)s::text[], %(quantities)s::int[])
    AS line(number, sku, "variantKey", quantity)
  GROUP BY number, sku, "variantKey"
)
SELECT own.*, other.id AS other_id, coalesce(other.has_payment, false) AS other_has_payment,
       coalesce(clock_timestamp() >= r.before, false) AS too_late, found.short, found.over
FROM unnest(
  %(shops)s::text[], %(holds)s::text[], %(references)s::text[], %(replaces)s::bool[], %(befores)s::timestamptz[]{lists}
) WITH ORDINALITY AS r(shop, hold, reference, replace, before{names}, number)
LEFT JOIN LATERAL (
  SELECT h.*, {hold_lines} FROM "InventoryHold" h WHERE h."shopId" = r.shop AND h.id = r.hold OFFSET 0
) own ON true
LEFT JOIN LATERAL (
  SELECT h.id, h."paymentSessionId" IS NOT NULL OR h."paymentIntentId" IS NOT NULL AS has_payment
  FROM (SELECT * FROM "InventoryHold" h WHERE h."shopId" = r.shop AND h.reference = r.reference OFFSET 0) h
  WHERE h.status = 'active' AND h.id <> r.hold
) other ON true
CROSS JOIN LATERAL (
  WITH stock AS MATERIALIZED (
    SELECT d.sku, d."variantKey", d.requested, 0 AS own, i."maxPerOrder", i."maxPerBuyer",
           CASE WHEN i."retiredAt" IS NULL THEN coalesce(i.quantity, 0) ELSE 0 END AS available,
           i.sku IS NOT NULL AS known, i."retiredAt" IS NOT NULL AS retired,
           CASE WHEN r.replace AND i."retiredAt" IS NULL THEN coalesce((
             SELECT sum(l.quantity) FROM "InventoryHoldItem" l
             WHERE l."shopId" = r.shop AND l."holdId" = other.id AND l.sku = d.sku AND l."variantKey" = d."variantKey"
           ), 0) ELSE 0 END AS comes_back
    FROM line d
    LEFT JOIN LATERAL (
      SELECT i.sku, i.quantity, i."retiredAt", i."maxPerOrder", i."maxPerBuyer" FROM "InventoryItem" i
      WHERE i."shopId" = r.shop AND i.sku = d.sku AND i."variantKey" = d."variantKey" OFFSET 0
    ) i ON true
    WHERE d.number = r.number
  ), items AS (
    SELECT * FROM stock WHERE known
  )
  SELECT (
           SELECT coalesce(json_agg(json_build_array(sku, "variantKey", requested, available + comes_back, known,
                                                     retired) ORDER BY sku, "variantKey"), '[]')
           FROM stock WHERE available + comes_back < requested
         ) AS short,
         {over} AS over
) found
ORDER BY r.number
"""
# What a buyer has is counted only for a request that names one: a CASE evaluates one branch.
_CHECK = _STATEMENT.format(hold_lines=HOLD_LINES, lists="", names="", over=_over(with_buyer=False))
_CHECK_BUYERS = _STATEMENT.format(
    hold_lines=HOLD_LINES,
    lists=", %(buyers)s::text[], %(windows)s::int[], %(max_units)s::int[], %(max_holds)s::int[]",
    names=", buyer, window_seconds, max_units, max_holds",
    over=f"CASE WHEN r.buyer IS NULL THEN {_over(with_buyer=False)} ELSE {_over(with_buyer=True)} END",
)


async def check_requests(engine: AsyncEngine, questions: Sequence[CheckQuestion]) -> list[RequestCheck]:
    """Read, in one round trip, what prevents each of the holds.

    Raises DatabaseBusyError and DatabaseUnavailableError.
    """
    lines = [(number, line) for number, question in enumerate(questions, 1) for line in question.lines]
    parameters: dict[str, object] = {
        "shops": [question.shop_id for question in questions],
        "holds": [question.hold_id for question in questions],
        "references": _unless_empty([question.reference for question in questions]),
        "replaces": _unless_empty([question.replace for question in questions]),
        "befores": _unless_empty([question.reserve_before for question in questions]),
        "numbers": [number for number, _ in lines],
        **lines_as_arrays([line for _, line in lines]),
    }
    statement = _CHECK
    if any(question.buyer is not None for question in questions):
        statement = _CHECK_BUYERS
        parameters |= {
            "buyers": [question.buyer for question in questions],
            "windows": [question.limits.window_seconds for question in questions],
            "max_units": [question.limits.units for question in questions],
            "max_holds": [question.limits.active_holds for question in questions],
        }
    return [
        RequestCheck(
            own=hold_from_row(row) if row["id"] is not None else None,
            reference_hold_id=row["other_id"],
            short=tuple(ShortItem(*item) for item in row["short"]),
            too_late=row["too_late"],
            over=limits_from_json(row["over"] or ()),
            reference_has_payment=row["other_has_payment"],
        )
        for row in await fetch(engine, statement, parameters)
    ]


def _unless_empty(values: Sequence[object]) -> Sequence[object] | None:
    """Return the values, or None where each is None or false: psycopg takes long to write a list as an array."""
    return values if any(values) else None
