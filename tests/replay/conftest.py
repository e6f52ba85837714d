"""How committed histories replay: in the sandbox, which forbids what is not deterministic, and as in production."""

from collections.abc import Awaitable, Callable, Sequence

import pytest
from opentelemetry.sdk.trace import TracerProvider
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from core.data_converter import data_converter
from core.temporal_tracing import TraceContextInterceptor

Replay = Callable[[Sequence[type], WorkflowHistory], Awaitable[object]]


@pytest.fixture(
    params=[
        (SandboxedWorkflowRunner(), []),
        (UnsandboxedWorkflowRunner(), [TraceContextInterceptor(TracerProvider())]),
    ],
    ids=["in-the-sandbox", "traced"],
)
def replay(request: pytest.FixtureRequest) -> Replay:
    """Return what replays a history on these workflows. It raises where they do otherwise than is recorded."""
    runner, interceptors = request.param

    def replayed(workflows: Sequence[type], history: WorkflowHistory) -> Awaitable[object]:
        replayer = Replayer(
            workflows=workflows, data_converter=data_converter, workflow_runner=runner, interceptors=interceptors
        )
        return replayer.replay_workflow(history)

    return replayed
