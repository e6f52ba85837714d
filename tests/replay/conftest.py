"""How committed histories replay: in the sandbox and out of it, traced and untraced."""

from collections.abc import Awaitable, Callable, Sequence

import pytest
from opentelemetry.sdk.trace import TracerProvider
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from core.data_converter import data_converter
from core.temporal_tracing import TraceContextInterceptor

Replay = Callable[[Sequence[type], WorkflowHistory], Awaitable[object]]


@pytest.fixture(params=[SandboxedWorkflowRunner(), UnsandboxedWorkflowRunner()], ids=["in", "out"])
def runner(request: pytest.FixtureRequest) -> SandboxedWorkflowRunner | UnsandboxedWorkflowRunner:
    """In the sandbox, as in the tests, and out of it, as in production."""
    chosen: SandboxedWorkflowRunner | UnsandboxedWorkflowRunner = request.param
    return chosen


@pytest.fixture(params=[[], [TraceContextInterceptor(TracerProvider())]], ids=["untraced", "traced"])
def replay(runner: SandboxedWorkflowRunner | UnsandboxedWorkflowRunner, request: pytest.FixtureRequest) -> Replay:
    """Return what replays a history on these workflows. It raises where they do otherwise than is recorded."""

    def replayed(workflows: Sequence[type], history: WorkflowHistory) -> Awaitable[object]:
        replayer = Replayer(
            workflows=workflows, data_converter=data_converter, workflow_runner=runner, interceptors=request.param
        )
        return replayer.replay_workflow(history)

    return replayed
