"""Buyers at once: on the last unit, on one cart, on the same items in opposite order, on one ending."""

import asyncio
import random
from itertools import pairwise

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch, fetch_on
from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import SHOP, end, is_new, put_item, request, stock_of, until_waiting
from domain.holds import Held, HoldStatus, ReferenceTaken, Shortage
from inventory.holds import read_hold
from inventory.reserve import reserve


async def test_two_buyers_cannot_hold_the_last_unit(crowd: AsyncEngine) -> None:
    await put_item(crowd, "mug", 1)
    async with crowd.connect() as gate:
        await gate.execution_options(isolation_level="READ COMMITTED")
        await fetch_on(gate, 'SELECT FROM "InventoryItem" FOR UPDATE', {})
        buyers = [asyncio.create_task(reserve(crowd, request(hold, ("mug", 1)))) for hold in ("h1", "h2")]
        await until_waiting(crowd, 2)
        await gate.rollback()
    outcomes = await asyncio.gather(*buyers)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Held", "Shortage"]
    assert await stock_of(crowd, "mug") == (0, 1)
    await assert_stock_adds_up(crowd)


async def test_two_hundred_buyers_on_ten_units_make_ten_holds(crowd: AsyncEngine) -> None:
    await put_item(crowd, "mug", 10)
    outcomes = await asyncio.gather(*(reserve(crowd, request(f"h{n}", ("mug", 1))) for n in range(200)))
    assert sum(is_new(outcome) for outcome in outcomes) == 10
    assert sum(isinstance(outcome, Shortage) for outcome in outcomes) == 190
    assert await stock_of(crowd, "mug") == (0, 10)
    await assert_stock_adds_up(crowd)


async def test_a_repeat_beside_the_first_attempt_is_the_same_hold_also_for_the_last_unit(crowd: AsyncEngine) -> None:
    for round_number in range(10):
        sku = f"sku-{round_number}"
        await put_item(crowd, sku, 1)
        wanted = request(f"h{round_number}", (sku, 1), reference=f"order-{round_number}")
        outcomes = await asyncio.gather(*(reserve(crowd, wanted) for _ in range(12)))
        assert sum(is_new(outcome) for outcome in outcomes) == 1
        assert sum(isinstance(outcome, Held) and not outcome.created for outcome in outcomes) == 11
        assert await stock_of(crowd, sku) == (0, 1)
    await assert_stock_adds_up(crowd)


async def test_one_reference_at_once_makes_one_active_hold(crowd: AsyncEngine) -> None:
    await put_item(crowd, "mug", 100)
    for round_number in range(10):
        wanted = [request(f"h{round_number}-{n}", ("mug", 1), reference=f"cart-{round_number}") for n in range(8)]
        outcomes = await asyncio.gather(*(reserve(crowd, each) for each in wanted))
        [winner] = [each.hold_id for each, outcome in zip(wanted, outcomes, strict=True) if is_new(outcome)]
        assert sum(outcome == ReferenceTaken(winner) for outcome in outcomes) == 7
    await assert_stock_adds_up(crowd)


async def test_carts_that_lock_in_opposite_order_never_deadlock(crowd: AsyncEngine) -> None:
    skus = ["a", "b", "c", "d"]
    for sku in skus:
        await put_item(crowd, sku, 1000)
    order = random.Random(7)  # noqa: S311 - no secret

    async def shop(hold_id: str, cart: list[str], to: HoldStatus) -> None:
        assert is_new(await reserve(crowd, request(hold_id, *((sku, 1) for sku in cart))))
        settled = await end(crowd, hold_id, to)
        assert settled is not None
        assert settled.changed

    for round_number in range(20):
        carts = [order.sample(skus, order.randint(2, 4)) for _ in range(16)]
        endings = [order.choice([HoldStatus.COMMITTED, HoldStatus.RELEASED]) for _ in carts]
        await asyncio.gather(
            *(shop(f"h{round_number}-{n}", cart, to) for n, (cart, to) in enumerate(zip(carts, endings, strict=True)))
        )
    await assert_stock_adds_up(crowd)


@pytest.mark.parametrize(
    "endings",
    [*pairwise([HoldStatus.COMMITTED, HoldStatus.RELEASED, HoldStatus.EXPIRED, HoldStatus.COMMITTED])],
)
async def test_opposite_endings_at_once_have_one_winner_that_both_report(
    crowd: AsyncEngine, endings: tuple[HoldStatus, HoldStatus]
) -> None:
    await put_item(crowd, "mug", 1)
    await reserve(crowd, request("h1", ("mug", 1)))
    async with crowd.connect() as gate:
        await gate.execution_options(isolation_level="READ COMMITTED")
        await fetch_on(gate, 'SELECT FROM "InventoryHold" FOR UPDATE', {})
        tasks = [asyncio.create_task(end(crowd, "h1", to)) for to in endings * 3]
        await until_waiting(crowd, 6)
        await gate.rollback()
    settled = [outcome for outcome in await asyncio.gather(*tasks) if outcome is not None]
    assert len(settled) == 6
    [winner] = [outcome.status for outcome in settled if outcome.changed]
    assert {outcome.status for outcome in settled} == {winner}
    hold = await read_hold(crowd, SHOP, "h1")
    assert hold is not None
    assert hold.status is winner
    await assert_stock_adds_up(crowd)


async def test_a_settle_beside_reserves_with_its_reference_never_deadlocks(crowd: AsyncEngine) -> None:
    await put_item(crowd, "mug", 100)
    await put_item(crowd, "cap", 100)
    for n in range(25):
        await reserve(crowd, request(f"old-{n}", ("mug", 1), ("cap", 1), reference="cart"))
        settled, *outcomes = await asyncio.gather(
            end(crowd, f"old-{n}", HoldStatus.RELEASED),
            *(reserve(crowd, request(f"new-{n}-{m}", ("cap", 1), ("mug", 1), reference="cart")) for m in range(4)),
        )
        assert settled is not None
        assert all(is_new(outcome) or isinstance(outcome, ReferenceTaken) for outcome in outcomes)
        active = await fetch(crowd, "SELECT id FROM \"InventoryHold\" WHERE status = 'active'", {})
        assert len(active) <= 1
        for row in active:
            await end(crowd, row["id"], HoldStatus.EXPIRED)
    await assert_stock_adds_up(crowd)
