"""A hold on a worker of an earlier release, which does not know every request of today."""

import uuid
from datetime import timedelta

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from domain.holds import HoldKey
from domain.payments import Payment
from holds.errors import OlderWorkerError
from holds.workflow_client import WorkflowClient
from tests.workflow.sending import hold_input
from workflows.hold import HoldWorkflow
from workflows.messages import Amend, Cancel, Commit, Ended, HoldInput, MadeWay, hold_workflow_id
from workflows.payment_messages import PaymentFailed


@workflow.defn(name="HoldWorkflow")
class Earlier:
    """Knows how to release, and nothing of changes."""

    @workflow.init
    def __init__(self, hold: HoldInput) -> None:
        del hold
        self._released = False
        self._failed = 0

    @workflow.run
    async def run(self, hold: HoldInput) -> Ended:
        del hold
        await workflow.wait_condition(lambda: self._released, timeout=timedelta(hours=1))
        await workflow.wait_condition(workflow.all_handlers_finished)
        return Ended("released")

    @workflow.signal
    def payment_failed(self, attempt: PaymentFailed) -> None:
        del attempt
        self._failed += 1

    @workflow.query
    def failed(self) -> int:
        return self._failed

    @workflow.update
    async def commit(self, message: Commit) -> Ended:
        raise AssertionError(f"it sells all units and does not know {message.items=}, {message.paid_elsewhere=}")

    @workflow.update
    async def release(self, message: Cancel) -> Ended:
        assert message.reason == "replaced"
        self._released = True
        return Ended("released")


async def test_what_it_does_not_know_fails_clearly_and_a_hold_to_replace_is_released_as_before(
    temporal: Client,
) -> None:
    queue, hold = f"earlier-{uuid.uuid4().hex}", hold_input()
    key, calls = HoldKey(hold.shop_id, hold.hold_id), WorkflowClient(temporal, queue)
    async with Worker(temporal, task_queue=queue, workflows=[Earlier], workflow_runner=UnsandboxedWorkflowRunner()):
        await temporal.start_workflow(Earlier.run, hold, id=hold_workflow_id(*key), task_queue=queue)
        with pytest.raises(OlderWorkerError, match="earlier release"):
            await calls.amend(key, Amend("a", "hash", "test", buyer="b-1"))
        for commit in (
            Commit("test", paid_elsewhere=True),
            Commit("test", items=hold.lines),
            Commit("test", items=hold.lines, asks=True, payment=Payment("pi_1")),
        ):
            with pytest.raises(OlderWorkerError, match="earlier release"):
                await calls.commit(key, commit)
        attempt = PaymentFailed(Payment("pi_1"), "evt_1")
        await calls.tell(key, HoldWorkflow.payment_failed, attempt, seconds=30)
        assert await temporal.get_workflow_handle_for(Earlier.run, hold_workflow_id(*key)).query(Earlier.failed) == 1
        assert await calls.make_way(key) == MadeWay(ended="released")
