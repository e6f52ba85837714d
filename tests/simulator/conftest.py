"""A simulator that is held to Stripe's description in every test, and an inbox for its webhooks."""

from collections.abc import AsyncIterator

import pytest

from dev.simulator.config import Endpoint
from tests.simulated import SECRET, Inbox, Simulated, inbox, simulated
from tests.simulator.description import Description, Witness
from tests.waiting import until


@pytest.fixture(scope="session")
def description() -> Description:
    """Stripe's OpenAPI description."""
    return Description()


@pytest.fixture(scope="session")
def witness(description: Description) -> Witness:
    """Who watches the simulators of all tests."""
    return Witness(description)


@pytest.fixture(scope="session")
async def _one_box() -> AsyncIterator[Inbox]:
    async with inbox() as running:
        yield running


@pytest.fixture(scope="session")
async def _one_simulator(_one_box: Inbox, witness: Witness) -> AsyncIterator[Simulated]:
    async with simulated(Endpoint(_one_box.url, (SECRET,)), watched_by=witness.watch) as running:
        yield running


@pytest.fixture
def box(_one_box: Inbox) -> Inbox:
    """Where the simulator's webhooks go; empty."""
    _one_box.clear()
    return _one_box


@pytest.fixture
async def sim(
    _one_simulator: Simulated, box: Inbox, witness: Witness, description: Description
) -> AsyncIterator[Simulated]:
    """A simulator with nothing in it, whose every answer and event must be as Stripe describes them."""
    account = _one_simulator.account
    yield _one_simulator
    account.faults.clear()
    await until(
        lambda: all(each.state not in ("waiting", "sending") for each in account.webhooks.deliveries),
        "webhooks are out",
    )
    account.reset()
    problems = [problem for event in box.events for problem in description.problems_of_event(event)]
    assert [*witness.problems, *problems] == []
