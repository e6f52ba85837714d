"""Histories of the back office's workflows replay on today's: a silence of a day survives a deploy."""

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from tests.replay.record_back_office import HISTORIES
from workflows.audit import AuditWorkflow
from workflows.conversion import data_converter
from workflows.hold_events import HoldEventsWorkflow
from workflows.low_stock import LowStockAlertWorkflow


def history_of(file: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(file.stem, file.read_text())


FILES = sorted(HISTORIES.glob("*/*.json"))
STORIES = {"audit-clean", "audit-with-findings", "events-delivered", "low-stock-silent", "low-stock-twice"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
@pytest.mark.parametrize("runner", [SandboxedWorkflowRunner(), UnsandboxedWorkflowRunner()], ids=["in", "out"])
async def test_a_committed_history_of_the_back_office_replays(file: Path, runner: WorkflowRunner) -> None:
    replayer = Replayer(
        workflows=[AuditWorkflow, HoldEventsWorkflow, LowStockAlertWorkflow],
        data_converter=data_converter,
        workflow_runner=runner,
    )

    await replayer.replay_workflow(history_of(file))


def test_every_release_has_a_history_of_each_of_their_stories() -> None:
    newest = max(HISTORIES.iterdir())
    assert {file.stem for file in newest.glob("*.json")} >= STORIES
