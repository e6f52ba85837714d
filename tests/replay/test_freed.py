"""A workflow is freed when it leaves the cache, without a scan for garbage."""

import gc
import json
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import TracerProvider
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.client import WorkflowHistory
from temporalio.worker import (
    Interceptor,
    Replayer,
    UnsandboxedWorkflowRunner,
    WorkflowInstance,
    WorkflowInstanceDetails,
    WorkflowOutboundInterceptor,
    WorkflowRunner,
)

from core.data_converter import data_converter
from core.temporal_tracing import TraceContextInterceptor
from core.workflow_runner import FreeingWorkflowRunner
from tests.replay.record import HISTORIES
from tests.replay.test_replay import WORKFLOWS, history_of
from workflows.hold import HoldWorkflow

_NEWEST = HISTORIES / max(folder.name for folder in HISTORIES.iterdir())
_ENDS = ("amended", "checkout-paid", "committed", "expired", "extended-and-committed", "paid", "rejected", "released")
_WITH_A_FORGOTTEN_ERROR = ("paid-for-the-old-cart", "paid-twice", "takes-over")
_KEPT = (HoldWorkflow, WorkflowInstance, WorkflowOutboundInterceptor)


def _history(story: str, events: int | None = None) -> WorkflowHistory:
    """Return the story's history, or its first events: of a hold that is open then."""
    file = _NEWEST / f"{story}.json"
    if events is None:
        return history_of(file)
    return WorkflowHistory.from_json("hold:shop-1:open", {"events": json.loads(file.read_text())["events"][:events]})


async def _left_of(history: WorkflowHistory, runner: WorkflowRunner, interceptors: Sequence[Interceptor] = ()) -> int:
    """Replay the history without scans for garbage. Returns how many objects of its run are in memory then."""
    replayer = Replayer(
        workflows=WORKFLOWS, data_converter=data_converter, workflow_runner=runner, interceptors=interceptors
    )
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    before = _kept()
    try:
        await replayer.replay_workflow(history)
        return max(_kept() - before, 0)  # what an earlier test left may be freed meanwhile
    finally:
        if was_on:
            gc.enable()
        gc.collect()


def _kept() -> int:
    return sum(isinstance(each, _KEPT) for each in gc.get_objects())


async def _least_left_of(history: WorkflowHistory, interceptors: Sequence[Interceptor] = ()) -> int:
    """Return the least of ten replays: a thread that ends late has its last run in memory, a leak has every run."""
    return min([await _left_of(history, FreeingWorkflowRunner(), interceptors) for _ in range(10)])


@pytest.mark.parametrize("story", _ENDS)
async def test_a_hold_that_ended_is_freed_at_once(story: str) -> None:
    assert await _least_left_of(_history(story)) == 0
    assert await _left_of(_history(story), UnsandboxedWorkflowRunner()) > 0, "the SDK frees it by itself now"


async def test_a_hold_that_waits_is_freed_at_once() -> None:
    assert await _least_left_of(_history("expired", events=6)) == 0


async def test_a_traced_hold_is_freed_at_once() -> None:
    tracing = [TraceContextInterceptor(TracerProvider())]
    assert await _least_left_of(_history("committed"), tracing) == 0


@pytest.mark.parametrize("story", _WITH_A_FORGOTTEN_ERROR)
async def test_what_is_freed_later_raises_nothing(story: str) -> None:
    await _left_of(_history(story), FreeingWorkflowRunner())  # an error in a destructor would fail the test


async def test_a_hold_may_leave_the_cache_again() -> None:
    """The SDK repeats an eviction that takes longer than two seconds, and ends only when one has succeeded."""
    again: list[object] = []

    class Again(FreeingWorkflowRunner):
        def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
            instance = super().create_instance(det)
            activate = instance.activate

            def twice(act: WorkflowActivation) -> WorkflowActivationCompletion:
                completion = activate(act)
                if any(job.HasField("remove_from_cache") for job in act.jobs):
                    try:
                        again.append(activate(act))
                    except Exception as error:  # noqa: BLE001 - the SDK would repeat it for ever
                        again.append(error)
                return completion

            instance.activate = twice  # type: ignore[method-assign]
            return instance

    await _left_of(_history("committed"), Again())
    await _left_of(_history("expired", events=6), Again())
    done = WorkflowActivationCompletion()
    done.successful.SetInParent()
    for completion in again:
        assert isinstance(completion, WorkflowActivationCompletion), completion
        completion.run_id = ""
    assert again == [done, done]
