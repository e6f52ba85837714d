"""A product whose Temporal server can skip hours."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.testing import WorkflowEnvironment

from tests.stack import Stack, running_stack


@pytest.fixture
async def stack(stack: Stack) -> Stack:
    """The product with ten of the item that the tests hold."""
    await stack.put(10)
    return stack


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


@pytest.fixture
async def skipping(database: str, time_skipping: WorkflowEnvironment) -> AsyncIterator[SkippingStack]:
    """The product on a Temporal server that skips time."""
    async with running_stack(database, time_skipping.client) as stack:
        await stack.put(10)
        yield SkippingStack(stack, time_skipping)
