"""An API process that runs its holds, killed in the midst of a create: another worker goes on with the hold."""

import asyncio

import httpx
import pytest

from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import stock_of, until_waiting
from tests.e2e.deployment import Deployment, kill
from tests.e2e.test_kills import locked, task_was_lost
from tests.waiting import until


async def test_the_hold_of_a_create_whose_api_was_killed_during_its_reserve_is_found_and_sold_once(
    deployment: Deployment,
) -> None:
    await deployment.start_api(HOLDFAST_API_RUNS_HOLDS="1")
    await deployment.put("TEE", 10)

    async def makes_holds_without_a_worker() -> bool:
        return (await deployment.create("first", "TEE")).status_code in (200, 201)

    await until(makes_holds_without_a_worker, "the API runs holds")
    async with locked(deployment.database, "TEE") as unlock:
        asked = asyncio.create_task(deployment.create("killed", "TEE", 3))
        await until_waiting(deployment.engine, 1)
        kill(deployment.api)
        await unlock()
    with pytest.raises(httpx.TransportError):
        await asked

    await deployment.start_worker()
    await deployment.start_api()
    assert (await deployment.answered("killed", "commit"))["status"] == "committed"

    assert await deployment.end_of("killed") == "committed"
    assert await task_was_lost(deployment, "killed")
    assert (await deployment.answered("first", "release"))["status"] == "released"
    assert await stock_of(deployment.engine, "TEE") == (7, 0)
    await assert_stock_adds_up(deployment.engine)
    assert await deployment.failed_runs() == []
