"""The API killed in the midst of a flood: who repeats with the same id has exactly one hold, and stock adds up."""

import asyncio

import httpx

from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import stock_of
from tests.e2e.deployment import Deployment, kill
from tests.stack import PATIENT
from tests.waiting import until

CALLERS = 100


async def test_an_api_killed_in_a_flood_leaves_one_hold_for_each_caller_who_repeats(deployment: Deployment) -> None:
    await deployment.start_api(**PATIENT)
    await deployment.put("DROP", 1000)
    worker = await deployment.start_worker()
    statuses: list[int] = []
    lost = 0

    async def insist(hold_id: str) -> None:
        nonlocal lost
        while True:
            try:
                answer = await deployment.create(hold_id, "DROP")
            except httpx.TransportError:
                lost += 1
                await asyncio.sleep(0.5)
                continue
            if answer.status_code in {200, 201}:
                assert answer.json()["status"] == "active"
                statuses.append(answer.status_code)
                return
            assert answer.status_code in {429, 503, 504}, answer.text
            await asyncio.sleep(answer.json()["retryAfter"] / 1000)

    flood = [asyncio.ensure_future(insist(f"drop-{number}")) for number in range(CALLERS)]
    await until(lambda: len(statuses) >= 5, "creates are answered")
    kill(deployment.api)
    await until(lambda: lost, "callers lose their connection")
    await deployment.start_api(**PATIENT)
    await asyncio.gather(*flood)

    assert await stock_of(deployment.engine, "DROP") == (1000 - CALLERS, CALLERS)
    await assert_stock_adds_up(deployment.engine)
    kill(worker)
