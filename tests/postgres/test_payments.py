"""A hold's payment in the database: whose it is, and what one that came too late can still buy."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import DatabaseBusyError, fetch, fetch_on
from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import SHOP, end, is_new, put_item, request, stock_of, until_waiting
from domain.holds import Hold, HoldStatus
from inventory.hold_payments import attach_payment, claim_late_payment, find_hold
from inventory.holds import read_hold
from inventory.reserve import reserve

GONE = [HoldStatus.RELEASED, HoldStatus.EXPIRED]


@pytest.fixture
async def held(engine: AsyncEngine) -> AsyncEngine:
    """Five mugs and three caps, of which the hold `h1` has two and one."""
    await put_item(engine, "mug", 5)
    await put_item(engine, "cap", 3)
    await reserve(engine, request("h1", ("mug", 2), ("cap", 1)))
    return engine


async def attach(engine: AsyncEngine, hold_id: str, session_id: str | None, intent_id: str | None = None) -> bool:
    return await attach_payment(engine, SHOP, hold_id, session_id=session_id, intent_id=intent_id)


async def claim(
    engine: AsyncEngine,
    hold_id: str = "h1",
    intent_id: str | None = "pi_1",
    session_id: str | None = None,
    *,
    take: bool = True,
) -> str:
    made = await claim_late_payment(engine, SHOP, hold_id, session_id=session_id, intent_id=intent_id, take=take)
    return "reacquired_before" if made.reacquired_before else made.outcome


async def hold(engine: AsyncEngine, hold_id: str = "h1") -> Hold:
    found = await read_hold(engine, SHOP, hold_id)
    assert found is not None
    return found


async def sold(engine: AsyncEngine, hold_id: str = "h1") -> list[dict[str, Any]]:
    rows = await fetch(
        engine,
        'SELECT sku, delta, "onHand", kind, actor, reason FROM "InventoryMovement" WHERE "holdId" = %(hold)s'
        " ORDER BY sku",
        {"hold": hold_id},
    )
    return [dict(row) for row in rows]


async def test_a_hold_is_found_by_the_payment_attached_to_it(held: AsyncEngine) -> None:
    assert await attach(held, "h1", "cs_1", "pi_1")
    for session_id, intent_id in [("cs_1", None), (None, "pi_1"), ("cs_1", "pi_other")]:
        found = await find_hold(held, session_id=session_id, intent_id=intent_id)
        assert found is not None
        assert found == await hold(held)
    assert await find_hold(held, session_id="cs_2", intent_id="pi_2") is None
    assert await find_hold(held, session_id=None, intent_id=None) is None


async def test_another_payment_takes_the_place_of_the_first(held: AsyncEngine) -> None:
    assert await attach(held, "h1", "cs_1", "pi_1")
    assert await attach(held, "h1", "cs_2")
    row = await hold(held)
    assert (row.payment_session_id, row.payment_intent_id) == ("cs_2", None)


@pytest.mark.parametrize(("session_id", "intent_id"), [("cs_1", None), (None, "pi_1")])
async def test_a_payment_is_attached_to_one_active_hold_only(
    held: AsyncEngine, session_id: str | None, intent_id: str | None
) -> None:
    await reserve(held, request("h2", ("mug", 1)))
    assert await attach(held, "h1", "cs_1", "pi_1")
    assert not await attach(held, "h2", session_id, intent_id)
    await end(held, "h1", HoldStatus.RELEASED)
    assert await attach(held, "h2", session_id, intent_id)
    found = await find_hold(held, session_id=session_id, intent_id=intent_id)
    assert found is not None
    assert found.hold_id == "h2"


async def test_an_ended_hold_keeps_the_payment_it_has(held: AsyncEngine) -> None:
    await attach(held, "h1", "cs_1")
    await end(held, "h1", HoldStatus.COMMITTED, payment="pi_1")
    assert await attach(held, "h1", "cs_2", "pi_2")
    row = await hold(held)
    assert (row.payment_session_id, row.payment_intent_id) == ("cs_1", "pi_1")


async def test_of_two_holds_that_want_one_payment_at_once_at_most_one_gets_it(crowd: AsyncEngine) -> None:
    await put_item(crowd, "mug", 2)
    for hold_id in ("h1", "h2"):
        await reserve(crowd, request(hold_id, ("mug", 1)))
    async with crowd.connect() as gate:
        await gate.execution_options(isolation_level="READ COMMITTED")
        await fetch_on(gate, 'SELECT FROM "InventoryHold" FOR UPDATE', {})
        attaches = [asyncio.create_task(attach(crowd, hold_id, "cs_1")) for hold_id in ("h1", "h2")]
        await until_waiting(crowd, 2)
        await gate.rollback()
    got = await asyncio.gather(*attaches)
    assert sum(got) <= 1
    assert [(await hold(crowd, hold_id)).payment_session_id == "cs_1" for hold_id in ("h1", "h2")] == got
    assert await attach(crowd, "h1", "cs_1") or await attach(crowd, "h2", "cs_1")


@pytest.mark.parametrize("ended", GONE)
async def test_a_late_payment_takes_all_of_the_stock_again(held: AsyncEngine, ended: HoldStatus) -> None:
    await end(held, "h1", ended)

    assert await claim(held, session_id="cs_1") == "reacquired"

    row = await hold(held)
    assert (row.status, row.reason) == (HoldStatus.COMMITTED, "late_payment")
    assert (row.payment_intent_id, row.payment_session_id) == ("pi_1", "cs_1")
    assert (row.committed_at is not None, row.released_at, row.expired_at) == (True, None, None)
    assert [await stock_of(held, sku) for sku in ("mug", "cap")] == [(3, 0), (2, 0)]
    commit = {"kind": "commit", "actor": "stripe", "reason": "late_payment"}
    assert await sold(held) == [
        {"sku": "cap", "delta": -1, "onHand": 2, **commit},
        {"sku": "mug", "delta": -2, "onHand": 3, **commit},
    ]
    await assert_stock_adds_up(held)


async def test_a_claim_repeated_takes_nothing_more(held: AsyncEngine) -> None:
    await end(held, "h1", HoldStatus.EXPIRED)
    assert [await claim(held) for _ in range(3)] == ["reacquired", "reacquired_before", "reacquired_before"]
    assert await stock_of(held, "mug") == (3, 0)
    await assert_stock_adds_up(held)


@pytest.mark.parametrize("short", ["mug", "cap"])
async def test_one_item_gone_means_that_nothing_is_taken(held: AsyncEngine, short: str) -> None:
    await end(held, "h1", HoldStatus.EXPIRED)
    others = (await stock_of(held, short))[0]
    await reserve(held, request("h2", (short, others)))
    before = [await stock_of(held, sku) for sku in ("mug", "cap")]

    assert await claim(held) == "short"

    assert [await stock_of(held, sku) for sku in ("mug", "cap")] == before
    assert (await hold(held)).status is HoldStatus.EXPIRED
    assert await sold(held) == []
    await assert_stock_adds_up(held)


async def test_an_item_that_is_no_longer_kept_is_short(held: AsyncEngine) -> None:
    await end(held, "h1", HoldStatus.EXPIRED)
    await fetch(held, "DELETE FROM \"InventoryItem\" WHERE sku = 'cap'", {})
    assert await claim(held) == "short"
    assert await stock_of(held, "mug") == (5, 0)


async def test_a_policy_that_takes_nothing_leaves_stock_that_is_there(held: AsyncEngine) -> None:
    await end(held, "h1", HoldStatus.RELEASED)
    assert await claim(held, take=False) == "declined"
    assert await stock_of(held, "mug") == (5, 0)
    assert (await hold(held)).status is HoldStatus.RELEASED


@pytest.mark.parametrize("take", [True, False])
async def test_what_a_payment_meets_that_buys_nothing_new(held: AsyncEngine, take: bool) -> None:
    assert await claim(held, "h9", take=take) == "missing"
    assert await claim(held, take=take) == "active"
    await end(held, "h1", HoldStatus.COMMITTED)
    assert await claim(held, intent_id="pi_1", session_id="cs_1", take=take) == "recorded"
    row = await hold(held)
    assert (row.payment_intent_id, row.payment_session_id, row.reason) == ("pi_1", "cs_1", "test")
    assert await claim(held, intent_id="pi_1", take=take) == "already"
    assert await claim(held, intent_id="pi_2", take=take) == "second_payment"
    assert await stock_of(held, "mug") == (3, 0)
    await assert_stock_adds_up(held)


async def test_a_page_that_cost_nothing_takes_the_stock_by_its_session(held: AsyncEngine) -> None:
    await attach(held, "h1", "cs_1")
    await end(held, "h1", HoldStatus.EXPIRED)
    outcomes = [await claim(held, intent_id=None, session_id="cs_1") for _ in range(2)]
    assert outcomes == ["reacquired", "reacquired_before"]
    assert await claim(held, intent_id=None, session_id="cs_2") == "second_payment"


async def test_of_many_payments_at_once_one_buys_an_ended_hold(crowd: AsyncEngine) -> None:
    await put_item(crowd, "mug", 50)
    for n in range(5):
        await reserve(crowd, request(f"h{n}", ("mug", 2)))
        await end(crowd, f"h{n}", HoldStatus.EXPIRED)
        outcomes = await asyncio.gather(*(claim(crowd, f"h{n}", f"pi_{i % 4}") for i in range(8)))
        assert Counter(outcomes) == {"reacquired": 1, "reacquired_before": 1, "second_payment": 6}
        assert await stock_of(crowd, "mug") == (50 - 2 * (n + 1), 0)
    await assert_stock_adds_up(crowd)


async def test_of_many_payments_at_once_one_is_recorded_on_a_sold_hold(crowd: AsyncEngine) -> None:
    await put_item(crowd, "mug", 2)
    await reserve(crowd, request("h1", ("mug", 2)))
    await end(crowd, "h1", HoldStatus.COMMITTED)
    outcomes = await asyncio.gather(*(claim(crowd, intent_id=f"pi_{i}") for i in range(8)))
    assert Counter(outcomes) == {"recorded": 1, "second_payment": 7}


async def test_a_late_payment_and_a_buyer_cannot_both_have_the_last_unit(crowd: AsyncEngine) -> None:
    for n in range(12):
        sku = f"sku-{n}"
        await put_item(crowd, sku, 1)
        await reserve(crowd, request(f"old-{n}", (sku, 1)))
        await end(crowd, f"old-{n}", HoldStatus.EXPIRED)
        async with crowd.connect() as gate:
            await gate.execution_options(isolation_level="READ COMMITTED")
            await fetch_on(gate, 'SELECT FROM "InventoryItem" WHERE sku = %(sku)s FOR UPDATE', {"sku": sku})
            late = asyncio.create_task(claim(crowd, f"old-{n}", f"pi_{n}"))
            if n % 2:
                await until_waiting(crowd, 1)
            buyer = asyncio.create_task(reserve(crowd, request(f"new-{n}", (sku, 1))))
            await until_waiting(crowd, 2)
            await gate.rollback()
        outcome = (await late, is_new(await buyer))
        assert outcome in {("reacquired", False), ("short", True)}
        assert await stock_of(crowd, sku) == ((0, 0) if outcome[0] == "reacquired" else (0, 1))
    await assert_stock_adds_up(crowd)


@pytest.mark.parametrize("to", [HoldStatus.COMMITTED, *GONE])
@pytest.mark.parametrize("claim_first", [True, False])
async def test_a_claim_beside_the_end_of_its_hold_sees_one_or_the_other(
    crowd: AsyncEngine, to: HoldStatus, claim_first: bool
) -> None:
    """A claim that waits for the settle must go by what the settle left, not by what was there before."""
    await put_item(crowd, "mug", 5)
    await reserve(crowd, request("h1", ("mug", 2)))
    async with crowd.connect() as gate:
        await gate.execution_options(isolation_level="READ COMMITTED")
        await fetch_on(gate, 'SELECT FROM "InventoryHold" FOR UPDATE', {})
        calls = [lambda: claim(crowd), lambda: end(crowd, "h1", to)]
        tasks: list[asyncio.Task[Any]] = []
        for waiting, call in enumerate(calls if claim_first else reversed(calls), 1):
            tasks.append(asyncio.create_task(call()))
            await until_waiting(crowd, waiting)
        await gate.rollback()
    await asyncio.gather(*tasks)
    if (await claim(crowd)) == "active":
        pytest.fail("the hold was ended")
    row = await hold(crowd)
    assert (row.status, row.payment_intent_id) == (HoldStatus.COMMITTED, "pi_1")
    assert await stock_of(crowd, "mug") == (3, 0)
    await assert_stock_adds_up(crowd)


async def test_late_payments_beside_carts_in_opposite_order_never_deadlock(crowd: AsyncEngine) -> None:
    for sku in ("a", "b", "c"):
        await put_item(crowd, sku, 500)
    for n in range(10):
        old = [f"old-{n}-{m}" for m in range(6)]
        for hold_id in old:
            await reserve(crowd, request(hold_id, ("c", 1), ("a", 1), ("b", 1)))
            await end(crowd, hold_id, HoldStatus.RELEASED)
        new = [request(f"new-{n}-{m}", ("b", 1), ("c", 1), ("a", 1)) for m in range(6)]
        outcomes = await asyncio.gather(
            *(claim(crowd, hold_id, f"pi_{hold_id}") for hold_id in old), *(reserve(crowd, each) for each in new)
        )
        assert all(outcome == "reacquired" for outcome in outcomes[: len(old)])
        assert all(is_new(outcome) for outcome in outcomes[len(old) :])
    await assert_stock_adds_up(crowd)


async def test_a_claim_that_gets_no_locks_is_busy_and_changes_nothing(held: AsyncEngine, hurried: AsyncEngine) -> None:
    await end(held, "h1", HoldStatus.EXPIRED)
    async with held.connect() as other:
        await other.execution_options(isolation_level="READ COMMITTED")
        await fetch_on(other, 'SELECT FROM "InventoryItem" FOR UPDATE', {})
        with pytest.raises(DatabaseBusyError):
            await claim(hurried)
    assert (await hold(held)).status is HoldStatus.EXPIRED
    assert await claim(hurried) == "reacquired"
