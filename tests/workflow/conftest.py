"""A product whose Temporal server can skip hours."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.testing import WorkflowEnvironment

from core.data_converter import data_converter
from dev.temporal import TEMPORAL_FLAGS, temporal_binary
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
async def skipping(database: str) -> AsyncIterator[SkippingStack]:
    """The product on a Temporal server of its own that skips time."""
    environment = await WorkflowEnvironment.start_time_skipping_v2(
        dev_server_existing_path=str(temporal_binary()),
        dev_server_extra_args=[
            *TEMPORAL_FLAGS,
            "--dynamic-config-value",
            "frontend.WorkflowTimeSkippingEnabled=true",
        ],
        data_converter=data_converter,
    )
    async with environment:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TEMPORAL_ADDRESS", environment.client.service_client.config.target_host)
            async with running_stack(database, environment.client) as stack:
                await stack.put(10)
                yield SkippingStack(stack, environment)
