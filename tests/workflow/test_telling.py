"""A message that is told by an update, and by the signal where the update is not taken."""

import uuid

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from domain.holds import HoldKey
from domain.payments import Payment
from holds.workflow_client import WorkflowClient
from tests.stack import SHOP, Stack
from tests.workflow.sending import hold_input
from workflows.hold import HoldWorkflow
from workflows.messages import hold_workflow_id
from workflows.payment_messages import PaymentFailed


async def test_while_no_worker_answers_only_the_first_waits_for_one(temporal: Client) -> None:
    queue, hold = f"nobody-{uuid.uuid4().hex}", hold_input()
    key, calls = HoldKey(hold.shop_id, hold.hold_id), WorkflowClient(temporal, queue)
    run = await temporal.start_workflow(HoldWorkflow.run, hold, id=hold_workflow_id(*key), task_queue=queue)

    for seconds in (0.5, 3600.0, 3600.0):  # the test would end by its own limit if they waited
        attempt = PaymentFailed(Payment("pi_1"), f"evt_{seconds}")
        assert await calls.tell(key, HoldWorkflow.payment_failed, attempt, seconds=seconds)

    events = [event.event_type async for event in run.fetch_history_events()]
    assert events.count(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED) == 3
    await run.terminate()


async def test_a_message_that_the_update_refuses_is_noted_by_its_signal(stack: Stack) -> None:
    hold_id = (await stack.made())["holdId"]
    calls = WorkflowClient(stack.temporal, stack.task_queue)

    assert await calls.tell(HoldKey(SHOP, hold_id), HoldWorkflow.payment_succeeded, Payment(), seconds=30)

    noted = (await stack.run_of(hold_id).query("__temporal_workflow_metadata")).current_details
    assert "The signal payment_succeeded was ignored" in noted.replace("\\", "")
    assert (await stack.read(hold_id))["status"] == "active"
