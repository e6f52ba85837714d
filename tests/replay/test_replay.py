"""Histories of released versions replay on today's workflow: holds in flight survive a deploy."""

import json
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner
from temporalio.workflow import NondeterminismError

from core.data_converter import data_converter
from tests.replay.conftest import Replay
from tests.replay.record import HISTORIES, LATE, STORIES
from workflows.hold import HoldWorkflow
from workflows.late_payment import LatePaymentWorkflow
from workflows.messages import Ended, HoldInput

WORKFLOWS = [HoldWorkflow, LatePaymentWorkflow]
FILES = sorted(HISTORIES.glob("*/*.json"))


def history_of(file: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(f"hold:shop-1:{file.stem}", file.read_text())


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
async def test_a_committed_history_replays(file: Path, replay: Replay) -> None:
    await replay(WORKFLOWS, history_of(file))


@pytest.mark.parametrize("release", sorted(folder.name for folder in HISTORIES.iterdir()))
def test_every_release_has_a_history_of_each_story(release: str) -> None:
    recorded = {file.stem for file in (HISTORIES / release).glob("*.json")}
    assert recorded >= {*STORIES, *LATE} or release != max(folder.name for folder in HISTORIES.iterdir())
    for name in recorded:
        events = json.loads((HISTORIES / release / f"{name}.json").read_text())["events"]
        assert events[-1]["eventType"] == "EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED", name


@workflow.defn(name="HoldWorkflow")
class Hasty:
    """A changed workflow that forgets to reserve."""

    @workflow.run
    async def run(self, hold: HoldInput) -> Ended:
        del hold
        await workflow.sleep(1)
        return Ended("committed")


async def test_a_changed_workflow_fails_the_replay() -> None:
    replayer = Replayer(workflows=[Hasty], data_converter=data_converter, workflow_runner=UnsandboxedWorkflowRunner())
    with pytest.raises(NondeterminismError):
        await replayer.replay_workflow(history_of(HISTORIES / "0.1.0" / "paid.json"))
