"""The order in which Temporal hands out tasks that wait: by importance, and the shops in turn."""

import uuid
from datetime import timedelta

from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import PollActivityTaskQueueRequest, PollWorkflowTaskQueueRequest
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from domain.holds import Line
from domain.payments import Payment
from holds.workflow_client import WorkflowClient
from tests.stack import SHOP, running_stack
from tests.workflow.sending import hold_input
from workflows.hold import HoldWorkflow
from workflows.messages import Continued, HoldInput
from workflows.priorities import Importance, of_shop

CALM, RUSHING = "calm", "rushing " * 30
"""The second is longer than a key may be."""


async def test_a_waiting_hold_of_a_calm_shop_is_handed_out_within_the_rush_of_another(temporal: Client) -> None:
    queue = f"turns-{uuid.uuid4().hex}"
    calls = WorkflowClient(temporal, queue)
    for shop in (*(RUSHING,) * 5, CALM):
        await calls.start(HoldInput(shop, uuid.uuid4().hex, (Line("TEE", "", 1),), 60, 60, 1000))
    poll = PollWorkflowTaskQueueRequest(namespace=temporal.namespace, task_queue=TaskQueue(name=queue), identity="test")
    handed_out = []
    for _ in range(6):
        task = await temporal.workflow_service.poll_workflow_task_queue(poll, timeout=timedelta(seconds=30))
        run = temporal.get_workflow_handle(task.workflow_execution.workflow_id)
        handed_out.append("calm" if f":{CALM}:" in run.id else "rushing")
        await run.terminate()
    assert handed_out.index("calm") <= 1


async def test_each_task_of_a_hold_has_the_key_of_its_shop_and_its_own_importance(
    database: str, temporal: Client
) -> None:
    """Its payment is closed already, so its end is the first activity."""
    async with running_stack(database, temporal, with_worker=False) as stack:
        await stack.put(1)
        deciding = Worker(
            temporal,
            task_queue=stack.task_queue,
            workflows=[HoldWorkflow],
            activities=[stack.stock.reserve],
            no_remote_activities=True,
            workflow_runner=UnsandboxedWorkflowRunner(),
        )
        async with deciding:
            closed = Continued(
                Payment("pi_1"), closed=True, failed=(), extensions=(), checkout=None, session_expires_at=None
            )
            hold = hold_input(ttl_seconds=1, continued=closed)
            await WorkflowClient(temporal, stack.task_queue).start(hold)
            poll = PollActivityTaskQueueRequest(
                namespace=temporal.namespace, task_queue=TaskQueue(name=stack.task_queue), identity="test"
            )
            task = await temporal.workflow_service.poll_activity_task_queue(poll, timeout=timedelta(seconds=60))
        assert task.activity_type.name == "settle"
        given = (task.priority.priority_key, task.priority.fairness_key)
        assert given == (Importance.EXPIRY, of_shop(SHOP).fairness_key)
        await stack.run_of(hold.hold_id).terminate()
