"""A workflow is freed when it leaves the cache, without a scan for garbage."""

import gc
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

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
from tests.waiting import until
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


@contextmanager
def _without_scans() -> Iterator[Callable[[], int]]:
    """Switch scans for garbage off. Yields what returns how many objects of runs there are more than before."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    before = _kept()
    try:
        yield lambda: _kept() - before
    finally:
        if was_on:
            gc.enable()
        gc.collect()


async def _replay(history: WorkflowHistory, runner: WorkflowRunner, interceptors: Sequence[Interceptor] = ()) -> None:
    replayer = Replayer(
        workflows=WORKFLOWS, data_converter=data_converter, workflow_runner=runner, interceptors=interceptors
    )
    await replayer.replay_workflow(history)


async def _assert_freed(history: WorkflowHistory, interceptors: Sequence[Interceptor] = ()) -> None:
    """Replay the history and wait until nothing of its run is left: a thread of the replayer may still end with it."""
    with _without_scans() as left:
        await _replay(history, FreeingWorkflowRunner(), interceptors)
        await until(lambda: left() == 0, "the run is freed")


def _kept() -> int:
    return sum(isinstance(each, _KEPT) for each in gc.get_objects())


@pytest.mark.parametrize("story", _ENDS)
async def test_a_hold_that_ended_is_freed_at_once(story: str) -> None:
    await _assert_freed(_history(story))


async def test_a_hold_that_waits_is_freed_at_once() -> None:
    await _assert_freed(_history("expired", events=6))


async def test_a_traced_hold_is_freed_at_once() -> None:
    await _assert_freed(_history("committed"), [TraceContextInterceptor(TracerProvider())])


async def test_the_sdks_own_runner_frees_nothing_without_a_scan() -> None:
    with _without_scans() as left:
        await _replay(_history("committed"), UnsandboxedWorkflowRunner())
        assert left() > 0, "core/workflow_runner.py is not needed any more"


@pytest.mark.parametrize("story", _WITH_A_FORGOTTEN_ERROR)
async def test_what_is_freed_later_raises_nothing(story: str) -> None:
    with _without_scans():
        await _replay(_history(story), FreeingWorkflowRunner())  # an error in a destructor would fail the test


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

    await _replay(_history("committed"), Again())
    await _replay(_history("expired", events=6), Again())
    done = WorkflowActivationCompletion()
    done.successful.SetInParent()
    for completion in again:
        assert isinstance(completion, WorkflowActivationCompletion), completion
        completion.run_id = ""
    assert again == [done, done]
