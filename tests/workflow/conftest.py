"""A product whose Temporal server can skip hours, and one with a receiver of events."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.testing import WorkflowEnvironment

from dev.postgres import EmbeddedPostgres
from tests.receivers import SECRET, Receiver, receiving
from tests.servers import address_of, database_on
from tests.stack import Stack, running_stack


@pytest.fixture
async def stack(stack: Stack) -> Stack:
    """The product with ten of the item that the tests hold."""
    await stack.put(10)
    return stack


@pytest.fixture
async def own_stack(own_stack: Stack) -> Stack:
    """The same for one test."""
    await own_stack.put(10)
    return own_stack


@dataclass
class SkippingStack:
    """The product on a server whose time a test moves, hold by hold. Postgres keeps the real time."""

    stack: Stack
    environment: WorkflowEnvironment

    async def pass_time(self, hold_id: str, seconds: float) -> None:
        """Let that much time pass for one hold."""
        await self.environment.fast_forward(self.stack.run_of(hold_id), seconds)

    async def is_open(self, hold_id: str) -> bool:
        """Tell whether the hold's workflow still runs."""
        description = await self.stack.run_of(hold_id).describe()
        return description.status == WorkflowExecutionStatus.RUNNING


@pytest.fixture(scope="module")
async def _shared_skipping_stack(
    postgres: EmbeddedPostgres, migrated_template: str, _time_skipping: WorkflowEnvironment
) -> AsyncIterator[Stack]:
    with database_on(postgres, migrated_template) as database:
        async with AsyncExitStack() as entered:
            with pytest.MonkeyPatch.context() as patch:  # for as long as it starts
                patch.setenv("TEMPORAL_ADDRESS", address_of(_time_skipping))
                stack = await entered.enter_async_context(running_stack(database, _time_skipping.client))
            yield stack


@pytest.fixture
async def skipping(_shared_skipping_stack: Stack, time_skipping: WorkflowEnvironment) -> SkippingStack:
    """The product on a Temporal server that skips time; the tests of a module share it."""
    await _shared_skipping_stack.renew()
    await _shared_skipping_stack.put(10)
    return SkippingStack(_shared_skipping_stack, time_skipping)


@pytest.fixture
def prompt_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have events and alerts passed on at once: else each waits up to a second for the next look."""
    monkeypatch.setattr("activities.outbox_relay.POLL_SECONDS", 0.05)


def telling_stack(
    database: str, temporal: Client, receiver: Receiver, *, secret: str = SECRET, with_worker: bool = True
) -> AbstractAsyncContextManager[Stack]:
    """Run a product that tells the receiver of every change of a hold."""
    return running_stack(
        database,
        temporal,
        with_worker=with_worker,
        HOLD_EVENTS_WEBHOOK_URL=receiver.url,
        HOLD_EVENTS_WEBHOOK_SECRET=secret,
    )


@pytest.fixture(scope="module")
async def _shared_receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
async def _shared_telling_stack(
    postgres: EmbeddedPostgres, migrated_template: str, temporal: Client, _shared_receiver: Receiver
) -> AsyncIterator[Stack]:
    with database_on(postgres, migrated_template) as database:
        async with telling_stack(database, temporal, _shared_receiver) as stack:
            yield stack


@pytest.fixture
def receiver(_shared_receiver: Receiver) -> Receiver:
    """A receiver of events, which the tests of a module share."""
    _shared_receiver.forget()
    return _shared_receiver


@pytest.fixture
async def telling(_shared_telling_stack: Stack, receiver: Receiver) -> Stack:
    """The product with a receiver of events, and ten of the item that the tests hold."""
    await _shared_telling_stack.renew()
    receiver.forget()
    await _shared_telling_stack.put(10)
    return _shared_telling_stack
