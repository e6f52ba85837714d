"""The committed histories of the background worker's workflows replay on the current code."""

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory

from tests.replay.conftest import Replay
from tests.replay.record_background import HISTORIES
from workflows.audit import AuditWorkflow
from workflows.hold_events import HoldEventsWorkflow
from workflows.low_stock import LowStockAlertWorkflow
from workflows.low_stock_digest import LowStockDigestWorkflow
from workflows.payment_reconciliation import PaymentReconciliationWorkflow


def history_of(file: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(file.stem, file.read_text())


FILES = sorted(HISTORIES.glob("*/*.json"))
STORIES = {
    "audit-clean",
    "audit-with-findings",
    "events-delivered",
    "low-stock-digest-quiet",
    "low-stock-digest-twice",
    "payments-quiet",
    "payments-with-findings",
}
WORKFLOWS = [
    AuditWorkflow,
    HoldEventsWorkflow,
    LowStockDigestWorkflow,
    LowStockAlertWorkflow,
    PaymentReconciliationWorkflow,
]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
async def test_a_committed_history_of_the_background_worker_replays(file: Path, replay: Replay) -> None:
    await replay(WORKFLOWS, history_of(file))


def test_every_release_has_a_history_of_each_of_their_stories() -> None:
    newest = max(HISTORIES.iterdir())
    assert {file.stem for file in newest.glob("*.json")} >= STORIES
