"""The randomised run of payments at length: every part of the product is killed and frozen, and all the money adds up.

`CHAOS_ROUNDS` says how many strikes (3; `make chaos`: 50), each among some forty checkouts. The seed is printed:
`CHAOS_SEED` with it plays the same wishes, weather and strikes again, as far as chance is ours.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from tests.chaos.fault_injector import WORKER_PROCESSES, Saboteur
from tests.chaos.test_chaos import FIRST_SEED, ROUND_SECONDS, ROUNDS
from tests.e2e.house import House, house_in
from tests.payments.market import Market, at, dice, open_market
from tests.payments.season import SETTLE_SECONDS, end_the_season, go_shopping
from tests.simulated import simulated

CHECKOUTS_A_ROUND = 40

pytestmark = pytest.mark.timeout(600 + ROUNDS * ROUND_SECONDS + 4 * SETTLE_SECONDS)


@dataclass
class Town:
    """A house and the market before it."""

    house: House
    market: Market


@pytest.fixture
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    async with (
        simulated(seed=FIRST_SEED) as stripe,
        house_in(tmp_path_factory.mktemp("town"), processes=WORKER_PROCESSES, **at(stripe)) as house,
        open_market(house.deployment, stripe) as market,
    ):
        yield Town(house, market)


async def test_every_payment_buys_its_hold_or_goes_back_whatever_is_killed(
    town: Town, say: Callable[[str], None]
) -> None:
    say(f"CHAOS_SEED={FIRST_SEED} CHAOS_ROUNDS={ROUNDS}")

    async def strike() -> int:
        await Saboteur(town.house, dice(FIRST_SEED, "strikes"), say).play(ROUNDS)
        return ROUNDS

    struck = await go_shopping(town.market, FIRST_SEED, ROUNDS * CHECKOUTS_A_ROUND, strike())
    await end_the_season(town.market, FIRST_SEED, struck, say)
