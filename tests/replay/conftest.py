"""How committed histories replay: in the sandbox, which forbids what is not deterministic, and as in production."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

import pytest
from opentelemetry.sdk.trace import TracerProvider
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, WorkflowReplayResult
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from core.data_converter import data_converter
from core.temporal_tracing import TraceContextInterceptor
from core.workflow_runner import FreeingWorkflowRunner

Replay = Callable[[Sequence[type], WorkflowHistory], Awaitable[object]]
Histories = asyncio.Queue[WorkflowHistory | None]
VALUES = (
    "domain",
    "workflows.deliveries",
    "workflows.findings",
    "workflows.messages",
    "workflows.payment_messages",
    "workflows.ports",
)
"""What workflows are told and tell, without state: imported once, not for each run, which takes most of a replay."""


@pytest.fixture(
    scope="module",
    params=[
        (SandboxedWorkflowRunner(SandboxRestrictions.default.with_passthrough_modules(*VALUES)), []),
        (FreeingWorkflowRunner(), [TraceContextInterceptor(TracerProvider())]),
    ],
    ids=["in-the-sandbox", "traced"],
)
async def replay(request: pytest.FixtureRequest) -> AsyncIterator[Replay]:
    """Return what replays a history on these workflows. It raises where they do otherwise than is recorded.

    One worker replays all histories of a module: to load the workflows into another takes longer than a replay.
    """
    runner, interceptors = request.param
    workers: dict[Sequence[type], tuple[Histories, AsyncIterator[WorkflowReplayResult]]] = {}
    async with AsyncExitStack() as stack:

        async def replayed(workflows: Sequence[type], history: WorkflowHistory) -> None:
            key = tuple(workflows)
            if key not in workers:
                replayer = Replayer(
                    workflows=workflows,
                    data_converter=data_converter,
                    workflow_runner=runner,
                    interceptors=interceptors,
                )
                histories: Histories = asyncio.Queue()
                results = replayer.workflow_replay_iterator(_until_none(histories))
                workers[key] = histories, await stack.enter_async_context(results)
            histories, results_of_it = workers[key]
            histories.put_nowait(history)
            if failure := (await anext(results_of_it)).replay_failure:
                raise failure

        yield replayed
        for histories, results_of_it in workers.values():
            histories.put_nowait(None)
            assert [result async for result in results_of_it] == []


async def _until_none(histories: Histories) -> AsyncIterator[WorkflowHistory]:
    while history := await histories.get():
        yield history
