"""Holds whose first task runs in the process of the API that starts them."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from dev.harness.invariants import assert_stock_adds_up
from tests.api.asking import HOLDS, fresh, insist, locked, neighbour, refused
from tests.stack import SHOP, Stack, running_stack

ONE = {"shopId": SHOP, "items": [{"sku": "TEE", "quantity": 1}]}


@pytest.fixture
async def alone(database: str, temporal: Client) -> AsyncIterator[Stack]:
    """An API that runs its holds, ready to, without any worker."""
    async with running_stack(database, temporal, with_worker=False, HOLDFAST_API_RUNS_HOLDS="1") as stack:
        await stack.put(10)
        await insist(stack.create)  # answered once its worker has started: no other could
        yield stack


async def was_asked(stack: Stack, made: httpx.Response) -> bool:
    """Return whether the hold's run was asked for the outcome by an update, as by a process that does not run it."""
    assert made.status_code == 201, made.text
    history = await stack.run_of(made.json()["holdId"]).fetch_history()
    return any(event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED for event in history.events)


async def test_an_api_makes_and_sells_a_hold_without_a_worker_and_without_an_update_for_its_create(
    alone: Stack,
) -> None:
    made = await alone.create()
    assert not await was_asked(alone, made)
    sold = await alone.post(made.json()["holdId"], "commit")
    assert (sold.status_code, sold.json()["status"]) == (200, "committed")
    await assert_stock_adds_up(alone.engine)


async def test_callers_at_once_make_one_hold_and_one_of_them_is_told_that_it_did(alone: Stack) -> None:
    key = fresh()
    answers = await asyncio.gather(*(alone.create(key=key) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.json()["holdId"] for answer in answers}) == 1
    assert await alone.stock_of() == (8, 2)


async def test_a_shortage_is_told_and_leaves_nothing(alone: Stack) -> None:
    key = fresh()
    answers = await asyncio.gather(*(alone.create(("TEE", 5), key=f"{key}-{n}") for n in range(4)))
    short = [answer for answer in answers if answer.status_code != 201]
    assert len(short) == 3
    for answer in short:
        refused(answer, 409, "insufficient_stock")
    assert await alone.stock_of() == (4, 6)


async def test_rows_that_stay_locked_are_told_as_busy(database: str, temporal: Client) -> None:
    async with running_stack(
        database, temporal, with_worker=False, INVENTORY_LOCK_TIMEOUT_MS="100", HOLDFAST_API_RUNS_HOLDS="1"
    ) as api:
        await api.put(2)
        await insist(api.create)
        async with locked(api):
            refused(await api.create(), 429, "inventory_busy")
        assert await api.stock_of() == (1, 1)


async def test_an_api_that_runs_no_holds_leaves_them_to_the_others(alone: Stack) -> None:
    async with neighbour(alone) as other:
        assert await was_asked(alone, await other.post(HOLDS, json=ONE))


async def test_with_routing_by_build_the_api_runs_no_holds(alone: Stack) -> None:
    async with neighbour(alone, HOLDFAST_API_RUNS_HOLDS="1", HOLDFAST_WORKER_BUILD_ID="2") as other:
        made = [await insist(lambda: other.post(HOLDS, json=ONE)) for _ in range(5)]  # enough for a worker to start
        assert all([await was_asked(alone, each) for each in made])
