"""Shoppers go on while every part of the product is killed at random; in the end all of it adds up.

`CHAOS_ROUNDS` says how many kills (3; `make chaos`: 50), in seasons of five with a count of the stock after each.
The seed of a season is printed: `CHAOS_SEED` with it plays its kills and wishes again.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from random import Random

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from inventory.engine import fetch
from tests.chaos.saboteur import WORKER_PROCESSES, Saboteur
from tests.chaos.shoppers import ITEMS, SHORTEST_LIFE, Shopper, Told
from tests.e2e.deployment import RECOVERY_SECONDS, Deployment, until
from tests.e2e.house import House, house_in
from tests.invariants import assert_stock_adds_up
from tests.stock import stock_of
from workflows.hold import HoldWorkflow
from workflows.messages import hold_workflow_id

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "3"))
FIRST_SEED = int(os.environ.get("CHAOS_SEED") or time.time_ns() % 1_000_000)
ROUNDS_IN_A_SEASON = 5
SHOPPERS = 8
OVERDUE_SECONDS = 30
"""How long after its deadline a hold may still be active, once everything runs."""
ROUND_SECONDS = 40

SEASONS = [
    (FIRST_SEED + number, min(ROUNDS_IN_A_SEASON, ROUNDS - start))
    for number, start in enumerate(range(0, ROUNDS, ROUNDS_IN_A_SEASON))
]

_SEASON_SECONDS = ROUNDS_IN_A_SEASON * ROUND_SECONDS + 2 * SHORTEST_LIFE + OVERDUE_SECONDS + 3 * RECOVERY_SECONDS

pytestmark = pytest.mark.timeout(_SEASON_SECONDS + 60)

_HOLDS = """
SELECT id, status, "expiresAt" < now() AS due, extract(epoch FROM "expiresAt" - now()) AS rest
FROM "InventoryHold" WHERE "shopId" = %(shop)s
"""


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with house_in(tmp_path_factory.mktemp("chaos"), processes=WORKER_PROCESSES) as running:
        yield running


@pytest.mark.parametrize(("seed", "rounds"), SEASONS)
async def test_no_hold_is_lost_stuck_or_ended_twice_whatever_is_killed(
    house: House, say: Callable[[str], None], seed: int, rounds: int
) -> None:
    say(f"CHAOS_SEED={seed} CHAOS_ROUNDS={rounds}")
    shop, told = f"chaos-{seed}", Told()
    deployment = house.deployment
    async with asyncio.timeout(_SEASON_SECONDS):
        await open_shop(deployment, shop)
        closing = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for number in range(SHOPPERS):
                shopper = Shopper(deployment.http, shop, f"shopper-{number}", dice(seed, number), told)
                tasks.create_task(shopper.shop(closing))
            await Saboteur(house, dice(seed), say).play(rounds)
            await asyncio.sleep(1)
            closing.set()
        say(f"  answers: {dict(sorted(told.answers.items()))}")

        ends = await ends_of(deployment.engine, shop)
        say(f"  ends: {dict(Counter(ends.values()))}")
        await nothing_runs(deployment, shop)
        await assert_stock_adds_up(deployment.engine)

    assert told.offences == []
    assert {hold_id for hold_id in told.lines if hold_id not in ends} == set(), "acknowledged and not there"
    assert {i: (said, ends[i]) for i, said in told.ends.items() if said != {ends[i]}} == {}, "told otherwise"
    await assert_runs_agree(deployment, shop, ends)
    await assert_sold_as_often_as_told(deployment, shop)


def dice(*seed: int) -> Random:
    """Return dice that fall the same way for the same seed."""
    return Random("/".join(map(str, seed)))  # noqa: S311 - nothing secret


async def open_shop(deployment: Deployment, shop: str) -> None:
    items = [{"sku": sku, "onHand": on_hand} for sku, on_hand in ITEMS.items()]
    answer = await deployment.http.put("/api/inventory/items", json={"shopId": shop, "items": items})
    assert answer.status_code == 200, answer.text


async def ends_of(engine: AsyncEngine, shop: str) -> dict[str, str]:
    """Wait until every hold has ended, none later than it may, and return how each did."""
    everything_runs_since = time.monotonic()
    while True:
        holds = await fetch(engine, _HOLDS, {"shop": shop})
        active = [hold for hold in holds if hold["status"] == "active"]
        if not active:
            return {hold["id"]: hold["status"] for hold in holds}
        running = time.monotonic() - everything_runs_since
        stuck = [hold["id"] for hold in active if min(-float(hold["rest"]), running) > OVERDUE_SECONDS]
        assert stuck == []
        await asyncio.sleep(0.25)


async def nothing_runs(deployment: Deployment, shop: str) -> None:
    """Wait until no workflow is open. None has failed: it would have left its hold to nobody."""

    async def all_closed() -> bool:
        runs = await deployment.temporal.count_workflows(f"ShopId = '{shop}' AND ExecutionStatus = 'Running'")
        return runs.count == 0

    await until(all_closed, "every workflow has ended", pause=0.2)
    others = deployment.temporal.list_workflows(f"ShopId = '{shop}' AND ExecutionStatus != 'Completed'")
    assert [f"{run.id} {run.status!r}" async for run in others] == []


async def assert_runs_agree(deployment: Deployment, shop: str, ends: dict[str, str]) -> None:
    """Check that each hold's workflow reports the end that the database has."""
    for hold_id, status in ends.items():
        handle = deployment.temporal.get_workflow_handle_for(HoldWorkflow.run, hold_workflow_id(shop, hold_id))
        assert (await handle.result()).status == status, hold_id


async def assert_sold_as_often_as_told(deployment: Deployment, shop: str) -> None:
    """Check the stock against the holds, by sums of our own."""
    sold = await fetch(deployment.engine, _SOLD, {"shop": shop})
    units = {row["sku"]: row["units"] for row in sold}
    for sku, on_hand in ITEMS.items():
        assert await stock_of(deployment.engine, sku, shop=shop) == (on_hand - units.get(sku, 0), 0)


_SOLD = """
SELECT l.sku, sum(l.quantity) AS units FROM "InventoryHoldItem" l
JOIN "InventoryHold" h ON h."shopId" = l."shopId" AND h.id = l."holdId"
WHERE h."shopId" = %(shop)s AND h.status = 'committed' GROUP BY l.sku
"""
