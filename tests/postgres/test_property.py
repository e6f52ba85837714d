"""Whatever callers do at once, the stock adds up and a hold ends once."""

import asyncio
import io
import itertools
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import DatabaseBusyError, fetch
from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import end, is_new, put_item, request, too_late
from domain.amendments import Amended, AmendRequest
from domain.holds import Held, HoldStatus, Line, ReserveRequest
from domain.limits import BuyerLimits
from inventory.adjustments import Adjustment, adjust_items
from inventory.amend import amend
from inventory.counts import ItemCount, count_items
from inventory.errors import (
    CountBelowHeldError,
    HoldNotCommittedError,
    KeyReusedError,
    ReturnAboveCommittedError,
    StockBelowZeroError,
    UnknownItemsError,
)
from inventory.holds import move_deadline
from inventory.reserve import reserve
from inventory.returns import restock
from inventory.stock_file import COLUMNS, convert_stock_file
from inventory.stock_import import import_stock
from tests.examples import examples

SKUS = ("mug", "cap", "pen", "new")
"""The last one is there only once somebody has counted it."""
HOLDS = ("h1", "h2", "h3", "h4")


@dataclass(frozen=True)
class Reserve:
    hold_id: str
    lines: tuple[tuple[str, int], ...]
    reference: str | None
    late: bool
    buyer: str | None


@dataclass(frozen=True)
class Exchange:
    """A hold in the place of the one with the reference, whichever that is."""

    hold_id: str
    lines: tuple[tuple[str, int], ...]
    reference: str
    buyer: str | None


@dataclass(frozen=True)
class Amend:
    hold_id: str
    lines: tuple[tuple[str, int], ...]
    reference: str | None
    buyer: str | None
    key: str | None


@dataclass(frozen=True)
class Settle:
    hold_id: str
    to: HoldStatus
    sold: tuple[tuple[str, int], ...] | None


@dataclass(frozen=True)
class Extend:
    hold_id: str
    minutes: int


@dataclass(frozen=True)
class Count:
    on_hand: tuple[tuple[str, int], ...]
    by_file: bool
    retired: bool


@dataclass(frozen=True)
class Adjust:
    deltas: tuple[tuple[str, int], ...]
    key: str | None


@dataclass(frozen=True)
class Restock:
    hold_id: str
    units: int | None
    key: str | None


Step = Reserve | Exchange | Amend | Settle | Extend | Count | Adjust | Restock

hold_ids = st.sampled_from(HOLDS)
buyers = st.sampled_from([None, "b-1", "b-2"])
lines = st.lists(st.tuples(st.sampled_from(SKUS), st.integers(1, 3)), min_size=1, max_size=4).map(tuple)
reserves = st.builds(
    Reserve,
    hold_ids,
    lines,
    st.sampled_from([None, "cart-1", "cart-2"]),
    st.integers(0, 9).map(lambda number: number == 0),
    buyers,
)
exchanges = st.builds(Exchange, hold_ids, lines, st.sampled_from(["cart-1", "cart-2"]), buyers)
amends = st.builds(
    Amend,
    hold_ids,
    lines | st.just(()),
    st.sampled_from([None, "cart-1", "cart-2"]),
    buyers,
    st.sampled_from([None, "a1", "a2"]),
)
settles = st.builds(
    Settle, hold_ids, st.sampled_from([each for each in HoldStatus if each is not HoldStatus.ACTIVE]), st.none()
)
partial_commits = st.builds(Settle, hold_ids, st.just(HoldStatus.COMMITTED), lines)
extends = st.builds(Extend, hold_ids, st.integers(1, 60))
figures = st.dictionaries(st.sampled_from(SKUS), st.integers(0, 9), min_size=1).map(lambda d: tuple(d.items()))
counts = st.builds(Count, figures, st.booleans(), st.integers(0, 9).map(lambda number: number == 0))
keys = st.sampled_from([None, "k1", "k2"])
deltas = st.dictionaries(st.sampled_from(SKUS), st.integers(-4, 4).filter(bool), min_size=1)
adjusts = st.builds(Adjust, deltas.map(lambda d: tuple(d.items())), keys)
restocks = st.builds(Restock, hold_ids, st.none() | st.integers(1, 3), keys)
steps = (
    reserves
    | reserves
    | exchanges
    | amends
    | amends
    | settles
    | partial_commits
    | extends
    | counts
    | adjusts
    | restocks
)
batches = st.lists(
    st.lists(
        steps,
        min_size=1,
        max_size=8,
    ),
    min_size=1,
    max_size=6,
)

shop_numbers = itertools.count()

_RETURNED_TOO_MUCH = """
SELECT * FROM (
  SELECT "shopId", "holdId", sku, sum(delta) AS n FROM "InventoryMovement"
  WHERE kind IN ('commit', 'restock') GROUP BY "shopId", "holdId", sku
) out WHERE n > 0
"""
_WITH_REFERENCE = """
SELECT id FROM "InventoryHold" WHERE "shopId" = %(shop)s AND reference = %(reference)s AND status = 'active'
"""
# The limits of the test never change, and a late payment, which is not limited, is not among the steps.
_OVER_LIMIT = """
SELECT h.buyer FROM "InventoryHold" h
CROSS JOIN LATERAL (
  SELECT sum(quantity) AS n FROM "InventoryHoldItem" l WHERE l."shopId" = h."shopId" AND l."holdId" = h.id
) held
CROSS JOIN LATERAL (
  SELECT coalesce(-sum(delta), 0) AS n FROM "InventoryMovement" m WHERE m."shopId" = h."shopId" AND m."holdId" = h.id
) sold
WHERE h."shopId" = %(shop)s AND h.buyer IS NOT NULL AND h.status IN ('active', 'committed')
GROUP BY h.buyer
HAVING sum(CASE h.status WHEN 'active' THEN held.n ELSE sold.n END) > %(units)s
  OR count(*) FILTER (WHERE h.status = 'active') > %(holds)s
"""
_LOST_AMENDMENT = """
SELECT h.id FROM "InventoryHold" h WHERE h."shopId" = %(shop)s AND h.revision <> (
  SELECT count(*) FROM "InventoryHoldAmendment" a WHERE a."shopId" = h."shopId" AND a."holdId" = h.id)
"""
LIMITS = BuyerLimits(active_holds=2, units=6)
_MADE_WITH = """
SELECT sku, delta FROM "InventoryMovement"
WHERE "shopId" = %(shop)s AND "idempotencyKey" = %(key)s AND kind = 'adjust'
"""


class Shop:
    """One shop of its own for each example, and what its callers were told."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.shop_id = f"shop-{next(shop_numbers)}"
        self.made: dict[str, int] = defaultdict(int)
        self.ended: dict[str, list[HoldStatus]] = defaultdict(list)
        self.corrected: dict[str | None, set[tuple[tuple[str, int], ...]]] = defaultdict(set)
        self.reported: dict[str, set[HoldStatus]] = defaultdict(set)

    async def do(self, step: Step) -> None:  # noqa: C901 - one case for each step
        match step:
            case Reserve(hold_id, wanted, reference, late, buyer):
                asked = request(hold_id, *wanted, reference=reference, shop=self.shop_id)
                self.note(hold_id, await self.reserve(replace(too_late(asked) if late else asked, buyer=buyer)))
            case Exchange(hold_id, wanted, reference, buyer):
                asked = request(hold_id, *wanted, reference=reference, shop=self.shop_id)
                old = await fetch(self.engine, _WITH_REFERENCE, {"shop": self.shop_id, "reference": reference})
                replaced = old[0]["id"] if old and old[0]["id"] != hold_id else None
                self.note(hold_id, await self.reserve(replace(asked, buyer=buyer, replaces=replaced)))
            case Amend(hold_id, wanted, reference, buyer, key):
                await self.amend(hold_id, wanted, reference, buyer, key)
            case Settle(hold_id, to, sold):
                part = None if sold is None else [Line(sku, "", n) for sku, n in sold]
                settled = await end(self.engine, hold_id, to, shop=self.shop_id, sold=part)
                if settled is not None:
                    self.reported[hold_id].add(settled.status)
                    self.ended[hold_id] += [settled.status] * settled.changed
            case Extend(hold_id, minutes):
                await move_deadline(self.engine, self.shop_id, hold_id, datetime.now(UTC) + timedelta(minutes=minutes))
            case Count(on_hand, by_file=True):
                rows, report = io.BytesIO(), io.BytesIO()
                lines = [",".join(COLUMNS), *(f"{self.shop_id},{sku},,,{n}," for sku, n in on_hand)]
                convert_stock_file(io.BytesIO("\n".join(lines).encode()), rows)
                with suppress(CountBelowHeldError, DatabaseBusyError):
                    await import_stock(self.engine, rows, report, actor="staff")
            case Count(on_hand):
                asked_counts = [ItemCount(sku, "", n, retired=step.retired) for sku, n in on_hand]
                with suppress(CountBelowHeldError):
                    await count_items(self.engine, self.shop_id, asked_counts, actor="staff")
            case Adjust(changes, key):
                adjustments = [Adjustment(sku, "", n, "found or lost") for sku, n in changes]
                with suppress(StockBelowZeroError, UnknownItemsError, KeyReusedError):
                    await adjust_items(self.engine, self.shop_id, adjustments, actor="staff", key=key)
                    self.corrected[key].add(changes)
            case Restock(hold_id, units, key):
                lines_back = None if units is None else [Line("mug", "", units)]
                with suppress(ReturnAboveCommittedError, HoldNotCommittedError, KeyReusedError):
                    await restock(self.engine, self.shop_id, hold_id, lines_back, actor="staff", reason="back", key=key)

    async def reserve(self, asked: ReserveRequest) -> object:
        return await reserve(self.engine, asked, LIMITS)

    def note(self, hold_id: str, outcome: object) -> None:
        self.made[hold_id] += is_new(outcome)
        if isinstance(outcome, Held) and not outcome.created and outcome.status is not HoldStatus.ACTIVE:
            self.reported[hold_id].add(outcome.status)

    async def amend(
        self,
        hold_id: str,
        wanted: tuple[tuple[str, int], ...],
        reference: str | None,
        buyer: str | None,
        key: str | None,
    ) -> None:
        """Change the hold, and check that the answer tells all that was asked for, each once."""
        demand: dict[str, int] = defaultdict(int)
        for sku, units in wanted:
            demand[sku] += units
        lines = tuple(Line(sku, "", units) for sku, units in sorted(demand.items()))
        digest = repr((lines, reference, buyer))
        change = AmendRequest(
            self.shop_id, hold_id, key or repr(object()), digest, "staff", lines or None, reference, buyer
        )
        outcome = await amend(self.engine, change, LIMITS)
        if isinstance(outcome, Amended) and outcome.changed:
            assert lines in ((), outcome.lines)
            assert reference in (None, outcome.reference)
            assert buyer in (None, outcome.buyer)

    async def check(self) -> None:
        await assert_stock_adds_up(self.engine)
        limits = {"shop": self.shop_id, "units": LIMITS.units, "holds": LIMITS.active_holds}
        assert await fetch(self.engine, _OVER_LIMIT, limits) == []
        assert await fetch(self.engine, _LOST_AMENDMENT, {"shop": self.shop_id}) == []
        assert await fetch(self.engine, _RETURNED_TOO_MUCH, {}) == []
        for key in ("k1", "k2"):
            made = await fetch(self.engine, _MADE_WITH, {"shop": self.shop_id, "key": key})
            told = [frozenset(each) for each in self.corrected[key]]
            assert [frozenset((row["sku"], row["delta"]) for row in made)] == (told or [frozenset()])
        rows = await fetch(
            self.engine, 'SELECT id, status, reason FROM "InventoryHold" WHERE "shopId" = %(s)s', {"s": self.shop_id}
        )
        replaced = {row["id"] for row in rows if row["reason"] == "replaced"}
        statuses = {row["id"]: HoldStatus(row["status"]) for row in rows}
        assert set(statuses) == {hold_id for hold_id, times in self.made.items() if times}
        assert all(times <= 1 for times in self.made.values())
        for hold_id, status in statuses.items():
            endings = [] if status is HoldStatus.ACTIVE else [status]
            if hold_id in replaced:
                assert status is HoldStatus.RELEASED
                assert self.ended[hold_id] == []
                continue
            assert self.ended[hold_id] == endings
            assert self.reported[hold_id] <= set(endings)


@settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(batches)
async def test_stock_adds_up_whatever_happens_at_once(crowd: AsyncEngine, batches: list[list[Step]]) -> None:
    shop = Shop(crowd)
    for sku in SKUS[:-1]:
        await put_item(crowd, sku, 5, shop=shop.shop_id)
    for batch in batches:
        await asyncio.gather(*(shop.do(step) for step in batch))
        await shop.check()
