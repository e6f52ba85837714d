"""Whatever callers do at once, the stock adds up and a hold ends once."""

import asyncio
import itertools
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from inventory.counts import CountBelowHeldError, ItemCount, count_items
from inventory.engine import fetch
from inventory.holds import HoldStatus, move_deadline
from inventory.reserve import AlreadyThere, Reserved, reserve
from tests.invariants import assert_stock_adds_up
from tests.stock import end, put_item, request, too_late

SKUS = ("mug", "cap", "pen", "new")
"""The last one is there only once somebody has counted it."""
HOLDS = ("h1", "h2", "h3", "h4")


@dataclass(frozen=True)
class Reserve:
    hold_id: str
    lines: tuple[tuple[str, int], ...]
    reference: str | None
    late: bool


@dataclass(frozen=True)
class Settle:
    hold_id: str
    to: HoldStatus


@dataclass(frozen=True)
class Extend:
    hold_id: str
    minutes: int


@dataclass(frozen=True)
class Count:
    on_hand: tuple[tuple[str, int], ...]


Step = Reserve | Settle | Extend | Count

hold_ids = st.sampled_from(HOLDS)
lines = st.lists(st.tuples(st.sampled_from(SKUS), st.integers(1, 3)), min_size=1, max_size=4).map(tuple)
reserves = st.builds(
    Reserve,
    hold_ids,
    lines,
    st.sampled_from([None, "cart-1", "cart-2"]),
    st.integers(0, 9).map(lambda number: number == 0),
)
settles = st.builds(Settle, hold_ids, st.sampled_from([each for each in HoldStatus if each is not HoldStatus.ACTIVE]))
extends = st.builds(Extend, hold_ids, st.integers(1, 60))
counts = st.dictionaries(st.sampled_from(SKUS), st.integers(0, 9), min_size=1).map(lambda d: Count(tuple(d.items())))
batches = st.lists(
    st.lists(reserves | reserves | settles | extends | counts, min_size=1, max_size=8), min_size=1, max_size=6
)

shop_numbers = itertools.count()


class Shop:
    """One shop of its own for each example, and what its callers were told."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.shop_id = f"shop-{next(shop_numbers)}"
        self.made: dict[str, int] = defaultdict(int)
        self.ended: dict[str, list[HoldStatus]] = defaultdict(list)
        self.reported: dict[str, set[HoldStatus]] = defaultdict(set)

    async def do(self, step: Step) -> None:
        match step:
            case Reserve(hold_id, wanted, reference, late):
                asked = request(hold_id, *wanted, reference=reference, shop=self.shop_id)
                outcome = await reserve(self.engine, too_late(asked) if late else asked)
                self.made[hold_id] += outcome == Reserved()
                if isinstance(outcome, AlreadyThere) and outcome.hold.status is not HoldStatus.ACTIVE:
                    self.reported[hold_id].add(outcome.hold.status)
            case Settle(hold_id, to):
                settled = await end(self.engine, hold_id, to, shop=self.shop_id)
                if settled is not None:
                    self.reported[hold_id].add(settled.status)
                    self.ended[hold_id] += [settled.status] * settled.changed
            case Extend(hold_id, minutes):
                await move_deadline(self.engine, self.shop_id, hold_id, datetime.now(UTC) + timedelta(minutes=minutes))
            case Count(on_hand):
                asked_counts = [ItemCount(sku, "", n) for sku, n in on_hand]
                with suppress(CountBelowHeldError):
                    await count_items(self.engine, self.shop_id, asked_counts, actor="staff")

    async def check(self) -> None:
        await assert_stock_adds_up(self.engine)
        rows = await fetch(
            self.engine, 'SELECT id, status FROM "InventoryHold" WHERE "shopId" = %(s)s', {"s": self.shop_id}
        )
        statuses = {row["id"]: HoldStatus(row["status"]) for row in rows}
        assert set(statuses) == {hold_id for hold_id, times in self.made.items() if times}
        assert all(times <= 1 for times in self.made.values())
        for hold_id, status in statuses.items():
            endings = [] if status is HoldStatus.ACTIVE else [status]
            assert self.ended[hold_id] == endings
            assert self.reported[hold_id] <= set(endings)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(batches)
async def test_stock_adds_up_whatever_happens_at_once(crowd: AsyncEngine, batches: list[list[Step]]) -> None:
    shop = Shop(crowd)
    for sku in SKUS[:-1]:
        await put_item(crowd, sku, 5, shop=shop.shop_id)
    for batch in batches:
        await asyncio.gather(*(shop.do(step) for step in batch))
        await shop.check()
