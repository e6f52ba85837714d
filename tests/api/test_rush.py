"""Many buyers at once."""

import asyncio
from functools import partial

import httpx
import pytest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from dev.harness.invariants import assert_stock_adds_up
from tests.api.asking import fresh, insist, refused
from tests.stack import Stack, running_stack


async def test_of_250_buyers_of_100_units_exactly_100_hold_one(database: str, temporal: Client) -> None:
    async with running_stack(
        database, temporal, INVENTORY_REQUEST_TIMEOUT_MS="30000", INVENTORY_LOCK_TIMEOUT_MS="4000"
    ) as stack:
        await stack.put(100)
        at_once = asyncio.Semaphore(40)

        async def buy() -> httpx.Response:
            async with at_once:
                return await insist(partial(stack.create, key=fresh("buyer")), again={429})

        answers = await asyncio.gather(*(buy() for _ in range(250)))

        made = [answer.json()["holdId"] for answer in answers if answer.status_code == 201]
        assert len(set(made)) == len(made) == 100
        for answer in answers:
            if answer.status_code != 201:
                short = refused(answer, 409, "insufficient_stock")["items"]
                assert short == [
                    {"sku": "TEE", "variantKey": "", "requested": 1, "available": 0, "reason": "insufficient"}
                ]
        assert await stack.stock_of() == (0, 100)
        assert stack.counted("inventory_hold_created") == 100
        assert stack.counted("inventory_hold_insufficient") == 150
        await assert_stock_adds_up(stack.engine)


async def test_who_comes_when_all_is_sold_is_refused_without_a_workflow(shared: Stack) -> None:
    await shared.put(1, "GONE")
    await shared.made(("GONE", 1))
    late = [fresh("late") for _ in range(30)]
    for answer in await asyncio.gather(*(shared.create(("GONE", 1), holdId=hold_id) for hold_id in late)):
        refused(answer, 409, "insufficient_stock")
    for hold_id in late:
        with pytest.raises(RPCError) as missing:
            await shared.run_of(hold_id).describe()
        assert missing.value.status is RPCStatusCode.NOT_FOUND


async def test_a_unit_given_back_in_a_rush_can_be_had_at_once(shared: Stack) -> None:
    await shared.put(1, "BACK")
    sold = await shared.made(("BACK", 1))
    over = asyncio.Event()

    async def keep_asking_for_two() -> None:
        while not over.is_set():
            refused(await shared.create(("BACK", 2)), 409, "insufficient_stock")

    rush = [asyncio.create_task(keep_asking_for_two()) for _ in range(20)]
    try:
        refused(await shared.create(("BACK", 1)), 409, "insufficient_stock")
        assert (await shared.post(sold["holdId"], "release")).status_code == 200
        assert (await shared.create(("BACK", 1))).status_code == 201
    finally:
        over.set()
        await asyncio.gather(*rush)


async def test_a_shopper_who_repeats_gets_the_hold_and_others_the_refusal(shared: Stack) -> None:
    await shared.put(1, "LAST")
    key = fresh("buyer")
    first = await shared.create(("LAST", 1), key=key)
    others = [shared.create(("LAST", 1), key=fresh("other")) for _ in range(30)]
    repeats = [shared.create(("LAST", 1), key=key) for _ in range(5)]
    answers = await asyncio.gather(*others, *repeats)
    for answer in answers[:30]:
        refused(answer, 409, "insufficient_stock")
    assert {(answer.status_code, answer.json()["holdId"]) for answer in answers[30:]} == {(200, first.json()["holdId"])}
