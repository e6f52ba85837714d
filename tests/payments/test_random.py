"""Checkouts at random, while Stripe fails, its webhooks go astray and workers die: all the money adds up.

The seed is printed: `RANDOM_SEED` with it plays the same wishes, weather and kills again, as far as chance is ours.
`RANDOM_CHECKOUTS` says how many checkouts (32); a longer one, in which every part is killed, is `make chaos`.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from random import Random

import pytest

from dev.postgres import EmbeddedPostgres
from dev.temporal import EmbeddedTemporal
from tests.e2e.deployment import deployed, kill
from tests.payments.market import Market, at, dice, open_market
from tests.payments.season import end_the_season, go_shopping
from tests.servers import database_on
from tests.simulated import simulated

SEED = int(os.environ.get("RANDOM_SEED") or time.time_ns() % 1_000_000)
CHECKOUTS = int(os.environ.get("RANDOM_CHECKOUTS", "32"))
KILLS = 3

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
async def market(
    postgres: EmbeddedPostgres, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Market]:
    """The product as processes, without a worker."""
    temporal = EmbeddedTemporal(None, ui=False)
    await asyncio.to_thread(temporal.start)
    try:
        with database_on(postgres, migrated_template) as database:
            folder = tmp_path_factory.mktemp("market")
            async with (
                simulated(seed=SEED) as stripe,
                deployed(folder, database, temporal.address, **at(stripe)) as deployment,
                open_market(deployment, stripe) as market,
            ):
                yield market
    finally:
        await asyncio.to_thread(temporal.stop)


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print a line past pytest's capture."""

    def print_it(text: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{text}")
            sys.stdout.flush()

    return print_it


async def test_every_payment_buys_its_hold_or_goes_back_whatever_fails(
    market: Market, say: Callable[[str], None]
) -> None:
    say(f"RANDOM_SEED={SEED} RANDOM_CHECKOUTS={CHECKOUTS}")
    struck = await go_shopping(market, SEED, CHECKOUTS, kill_by_the_count(market, dice(SEED, "kills"), say))
    await end_the_season(market, SEED, struck, say)


async def kill_by_the_count(market: Market, chance: Random, say: Callable[[str], None]) -> int:
    """Kill the worker again and again as the checkouts are made, and once the API; return with both running."""
    deployment = market.deployment
    worker = await deployment.start_worker()
    for number in range(KILLS):
        while market.told.checkouts < (number + 1) * CHECKOUTS / (KILLS + 1):
            await asyncio.sleep(0.05)
        dead = chance.uniform(0.0, 3.0)
        if number == KILLS // 2:
            say(f"  killed the API for {dead:.1f} s")
            kill(deployment.api)
            await asyncio.sleep(dead)
            await deployment.start_api()
            continue
        say(f"  killed the worker for {dead:.1f} s")
        kill(worker)
        await asyncio.sleep(dead)
        worker = await deployment.start_worker()
    return KILLS
