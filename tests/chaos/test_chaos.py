"""Shoppers go on while every part of the product is killed at random; in the end all of it adds up.

`CHAOS_ROUNDS` says how many kills (3; `make chaos`: 50), in seasons of five with a count of the stock after each.
The seed of a season is printed: `CHAOS_SEED` with it plays its kills and wishes again.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest

from dev.harness.reconciliation import OVERDUE_SECONDS, reconcile
from dev.harness.shoppers import SHORTEST_LIFE, ShopperLog, dice, shopping
from tests.chaos.fault_injector import WORKER_PROCESSES, Saboteur
from tests.e2e.house import House, house_in
from tests.waiting import LIMIT_SECONDS

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "3"))
FIRST_SEED = int(os.environ.get("CHAOS_SEED") or time.time_ns() % 1_000_000)
ROUNDS_IN_A_SEASON = 5
ROUND_SECONDS = 40

SEASONS = [
    (FIRST_SEED + number, min(ROUNDS_IN_A_SEASON, ROUNDS - start))
    for number, start in enumerate(range(0, ROUNDS, ROUNDS_IN_A_SEASON))
]

_SEASON_SECONDS = ROUNDS_IN_A_SEASON * ROUND_SECONDS + 2 * SHORTEST_LIFE + OVERDUE_SECONDS + 3 * LIMIT_SECONDS

pytestmark = pytest.mark.timeout(_SEASON_SECONDS + 60)


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with house_in(
        tmp_path_factory.mktemp("chaos"), processes=WORKER_PROCESSES, HOLDFAST_API_RUNS_HOLDS="1"
    ) as running:
        yield running


@pytest.mark.parametrize(("seed", "rounds"), SEASONS)
async def test_no_hold_is_lost_stuck_or_ended_twice_whatever_is_killed(
    house: House, say: Callable[[str], None], seed: int, rounds: int
) -> None:
    say(f"CHAOS_SEED={seed} CHAOS_ROUNDS={rounds}")
    shop, log = f"chaos-{seed}", ShopperLog()
    deployment = house.deployment
    async with asyncio.timeout(_SEASON_SECONDS):
        async with shopping(deployment.http, shop, seed, log):
            await Saboteur(house, dice(seed), say).play(rounds)
            await asyncio.sleep(1)
        say(f"  answers: {dict(sorted(log.answers.items()))}")

        reconciliation = await reconcile(deployment.engine, deployment.temporal, shop, log)
        say(f"  ends: {dict(Counter(reconciliation.ends.values()))}")

    assert reconciliation.violations == []
