"""A hold that replaces another takes over its units in the statement that ends the other: nobody gets in between."""

import asyncio
import os
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch
from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import SHOP, end, is_new, put_item, request, stock_of, too_late, until_waiting
from domain.amendments import AmendRequest
from domain.holds import Held, HoldStatus, Line, ReferenceTaken, ReserveRequest, Shortage, TooLate
from inventory.amend import amend
from inventory.hold_payments import attach_payment
from inventory.holds import read_hold
from inventory.reserve import reserve
from tests.postgres.locking import holding

TRIES = int(os.environ.get("EXCHANGE_TRIES", "60"))
"""How often the last unit is exchanged; 1000 before a release."""


def exchange(hold_id: str, replaced: str, *lines: tuple[str, int]) -> ReserveRequest:
    """Return the request for a hold of the same cart in the place of another."""
    return replace(request(hold_id, *lines, reference="cart"), replaces=replaced)


async def status_of(engine: AsyncEngine, hold_id: str) -> tuple[str, str | None] | None:
    hold = await read_hold(engine, SHOP, hold_id)
    return None if hold is None else (hold.status.value, hold.reason)


async def test_the_last_unit_is_never_lost_while_twenty_others_ask_for_it(crowd: AsyncEngine) -> None:
    await put_item(crowd, "mug", 1)
    await reserve(crowd, request("mine-0", ("mug", 1), reference="cart"))
    done, connections = False, asyncio.Semaphore(14)  # of sixteen, so that the pool itself refuses nobody

    async def ask(name: str) -> int:
        got, attempt = 0, 0
        while not done:
            attempt += 1
            async with connections:
                got += is_new(await reserve(crowd, request(f"{name}-{attempt}", ("mug", 1))))
        return got

    others = [asyncio.create_task(ask(f"other-{n}")) for n in range(20)]
    for attempt in range(TRIES):
        assert is_new(await reserve(crowd, exchange(f"mine-{attempt + 1}", f"mine-{attempt}", ("mug", 1))))
    done = True
    assert await asyncio.gather(*others) == [0] * 20
    assert await stock_of(crowd, "mug") == (0, 1)
    await assert_stock_adds_up(crowd)


async def test_the_old_hold_ends_as_replaced_and_the_difference_moves(crowd: AsyncEngine) -> None:
    for sku in ("mug", "cap", "pen"):
        await put_item(crowd, sku, 3)
    await reserve(crowd, request("old", ("mug", 3), ("cap", 1), reference="cart"))
    assert is_new(await reserve(crowd, exchange("new", "old", ("mug", 2), ("pen", 3))))
    assert await status_of(crowd, "old") == ("released", "replaced")
    assert [await stock_of(crowd, sku) for sku in ("mug", "cap", "pen")] == [(1, 2), (3, 0), (0, 3)]
    again = await reserve(crowd, exchange("new", "old", ("mug", 2), ("pen", 3)))
    assert isinstance(again, Held)
    assert not again.created
    await assert_stock_adds_up(crowd)


async def test_what_does_not_fit_leaves_the_old_hold(crowd: AsyncEngine) -> None:
    await put_item(crowd, "mug", 3)
    await reserve(crowd, request("old", ("mug", 2), reference="cart"))
    assert isinstance(await reserve(crowd, exchange("new", "old", ("mug", 4))), Shortage)
    assert await reserve(crowd, too_late(exchange("new", "old", ("mug", 1)))) == TooLate()
    assert await status_of(crowd, "old") == ("active", None)
    assert await stock_of(crowd, "mug") == (1, 2)


async def test_a_hold_with_a_payment_or_of_another_cart_is_not_exchanged(crowd: AsyncEngine) -> None:
    await put_item(crowd, "mug", 3)
    await reserve(crowd, request("old", ("mug", 1), reference="cart"))
    await attach_payment(crowd, SHOP, "old", session_id="cs_1", intent_id=None)
    assert await reserve(crowd, exchange("new", "old", ("mug", 1))) == ReferenceTaken("old")
    await attach_payment(crowd, SHOP, "old", session_id=None, intent_id=None)
    assert await reserve(crowd, exchange("new", "older", ("mug", 1))) == ReferenceTaken("old")
    assert is_new(await reserve(crowd, exchange("new", "old", ("mug", 1))))
    await end(crowd, "new", HoldStatus.COMMITTED)
    assert is_new(await reserve(crowd, exchange("newer", "new", ("mug", 1))))  # nothing to replace any more
    await assert_stock_adds_up(crowd)


async def test_an_id_that_another_hold_takes_meanwhile_ends_nothing(crowd: AsyncEngine) -> None:
    for sku in ("mug", "pen"):
        await put_item(crowd, sku, 3)
    await reserve(crowd, request("old", ("mug", 1), reference="cart"))
    async with holding(crowd, "mug"):
        exchanging = asyncio.create_task(reserve(crowd, exchange("new", "old", ("mug", 2))))
        await until_waiting(crowd, 1)
        assert is_new(await reserve(crowd, request("new", ("pen", 1))))
    outcome = await exchanging
    assert isinstance(outcome, Held)
    assert (outcome.created, outcome.lines) == (False, (Line("pen", "", 1),))
    assert await status_of(crowd, "old") == ("active", None)
    await assert_stock_adds_up(crowd)


async def test_an_exchange_that_waited_for_an_amendment_takes_over_the_amended_lines(crowd: AsyncEngine) -> None:
    for sku in ("mug", "pen"):
        await put_item(crowd, sku, 3)
    await reserve(crowd, request("old", ("mug", 1), reference="cart"))
    async with holding(crowd, "pen"):
        amending = asyncio.create_task(
            amend(crowd, AmendRequest(SHOP, "old", "a", "hash", "test", (Line("pen", "", 3),)))
        )
        await until_waiting(crowd, 1)
        exchanging = asyncio.create_task(reserve(crowd, exchange("new", "old", ("pen", 3), ("mug", 3))))
        await until_waiting(crowd, 2)
    await amending
    assert is_new(await exchanging)
    assert [await stock_of(crowd, sku) for sku in ("mug", "pen")] == [(0, 3), (0, 3)]
    await assert_stock_adds_up(crowd)


async def test_exchanges_of_one_hold_at_once_and_its_end_leave_one_successor_or_none(crowd: AsyncEngine) -> None:
    for sku in ("mug", "pen"):
        await put_item(crowd, sku, 50)
    for turn in range(10):
        old = f"old-{turn}"
        await reserve(crowd, request(old, ("mug", 1), reference="cart"))
        lines = [("mug", 2), ("pen", 1)], [("pen", 2), ("mug", 1)], [("mug", 1)]
        wanted = [exchange(f"new-{turn}-{n}", old, *each) for n, each in enumerate(lines)]
        outcomes = await asyncio.gather(
            end(crowd, old, HoldStatus.COMMITTED), *(reserve(crowd, each) for each in wanted)
        )
        made = [each.hold_id for each, outcome in zip(wanted, outcomes[1:], strict=True) if is_new(outcome)]
        assert len(made) == 1
        assert all(is_new(outcome) or outcome == ReferenceTaken(made[0]) for outcome in outcomes[1:])
        await end(crowd, made[0], HoldStatus.RELEASED)
    await assert_stock_adds_up(crowd)
    count = "SELECT count(*) AS n FROM \"InventoryHold\" WHERE status = 'active'"
    assert (await fetch(crowd, count, {}))[0]["n"] == 0
