"""A workflow that ended is freed when it leaves the cache, without a scan for garbage."""

import gc
from pathlib import Path

import pytest
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, WorkflowRunner

from core.data_converter import data_converter
from core.workflow_runner import FreeingWorkflowRunner
from tests.replay.record import HISTORIES
from tests.replay.test_replay import WORKFLOWS, history_of
from workflows.hold import HoldWorkflow

_NEWEST = HISTORIES / max(folder.name for folder in HISTORIES.iterdir())
_ENDS = ("amended", "checkout-paid", "committed", "expired", "extended-and-committed", "paid", "rejected", "released")
_WITH_A_FORGOTTEN_ERROR = ("paid-for-the-old-cart", "paid-twice", "takes-over")


async def _left_of(file: Path, runner: WorkflowRunner) -> int:
    """Replay the history without scans for garbage. Returns how many of its workflows are in memory then."""
    history = history_of(file)
    replayer = Replayer(workflows=WORKFLOWS, data_converter=data_converter, workflow_runner=runner)
    gc.collect()
    gc.disable()
    try:
        await replayer.replay_workflow(history)
        return sum(isinstance(each, HoldWorkflow) for each in gc.get_objects())
    finally:
        gc.enable()
        gc.collect()


@pytest.mark.parametrize("story", _ENDS)
async def test_a_hold_that_ended_is_freed_at_once(story: str) -> None:
    file = _NEWEST / f"{story}.json"
    assert await _left_of(file, FreeingWorkflowRunner()) == 0
    assert await _left_of(file, UnsandboxedWorkflowRunner()) == 1, "the SDK frees it by itself now"


@pytest.mark.parametrize("story", _WITH_A_FORGOTTEN_ERROR)
async def test_what_is_freed_later_raises_nothing(story: str) -> None:
    await _left_of(_NEWEST / f"{story}.json", FreeingWorkflowRunner())  # an error in a destructor would fail the test
