"""Finds out whether a Temporal server hands out waiting tasks by shop in turn, which no call of its API tells.

Three runs of two shops wait on a queue of the doctor's own, and the order in which their tasks are handed out shows it.
No worker does them: they are terminated and deleted at once, and time out should the doctor be killed.
"""

import asyncio
import uuid
from contextlib import suppress
from datetime import timedelta

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DeleteWorkflowExecutionRequest,
    DescribeTaskQueueRequest,
    ListTaskQueuePartitionsRequest,
    PollWorkflowTaskQueueRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from cli.doctor.results import CheckResult, fault, not_applicable, ok
from core.temporal import NOT_ALLOWED
from workflows.priorities import of_shop

AREA = "temporal"
NAME = "turns of shops"
_NO_WORKFLOW = "holdfast-doctor"
"""A type that no worker has."""
_CALL = timedelta(seconds=3)
_ORDER_SECONDS = 7.0
"""Within these the order is seen, or the server is too slow for it: less than `check_temporal` gives each check."""
_LOOK_SECONDS = 0.1
_TIMES_OUT = timedelta(minutes=1)
_FIX = "set matching.enableFairness to true in the server's dynamic configuration, as deploy/temporal/dynamic.yaml does"


async def check_fairness(client: Client) -> list[CheckResult]:
    """Check that a shop's rush does not keep the tasks of other shops waiting."""
    queue = TaskQueue(name=f"holdfast-doctor-{uuid.uuid4().hex}")
    try:
        listed = await client.workflow_service.list_task_queue_partitions(
            ListTaskQueuePartitionsRequest(namespace=client.namespace, task_queue=queue), timeout=_CALL
        )
    except RPCError as error:
        if error.status not in NOT_ALLOWED:
            raise
        return [not_applicable(AREA, NAME, "not readable: the server does not list the partitions of task queues")]
    partitions = len(listed.workflow_task_queue_partitions)
    if partitions > 1:
        return [
            not_applicable(AREA, NAME, f"not readable: task queues have {partitions} partitions, each its own order")
        ]
    handed_out = await _handed_out(client, queue)
    if handed_out is None:
        return [not_applicable(AREA, NAME, f"not readable: no three tasks were handed out in {_ORDER_SECONDS:g} s")]
    return [check_turns(handed_out)]


def check_turns(handed_out: list[str]) -> CheckResult:
    """Check the order in which two tasks of `rushing` and then one of `calm` were handed out."""
    if handed_out[-1] == "calm":
        return fault(AREA, NAME, "tasks are handed out as they came: one shop's rush delays all others", _FIX)
    return ok(AREA, NAME, "a waiting task of one shop is handed out between those of another")


async def _handed_out(client: Client, queue: TaskQueue) -> list[str] | None:
    """Return the shops in the order of their tasks, None if the server was too slow for an order to be seen."""
    shops: dict[str, str] = {}
    poll = PollWorkflowTaskQueueRequest(namespace=client.namespace, task_queue=queue, identity="holdfast-doctor")
    try:
        async with asyncio.timeout(_ORDER_SECONDS):
            for shop in ("rushing", "rushing", "calm"):
                workflow_id = f"{queue.name}-{len(shops)}"
                shops[workflow_id] = shop
                await client.start_workflow(
                    _NO_WORKFLOW,
                    id=workflow_id,
                    task_queue=queue.name,
                    execution_timeout=_TIMES_OUT,
                    priority=of_shop(shop),
                    rpc_timeout=_CALL,
                )
            await _until_waiting(client, queue, len(shops))
            polled = [await client.workflow_service.poll_workflow_task_queue(poll, timeout=_CALL) for _ in shops]
    except TimeoutError:
        return None
    except RPCError as error:
        if error.status is not RPCStatusCode.DEADLINE_EXCEEDED:
            raise
        return None
    finally:
        await asyncio.gather(*(_remove(client, workflow_id) for workflow_id in shops))
    if not all(task.task_token for task in polled):
        return None
    return [shops[task.workflow_execution.workflow_id] for task in polled]


async def _until_waiting(client: Client, queue: TaskQueue, number: int) -> None:
    """Wait until this many tasks are in the queue: a start returns before its task is there.

    The server repeats what it has told for five seconds, so the first look is not at once.
    """
    describe = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=queue,
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        report_stats=True,
    )
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        described = await client.workflow_service.describe_task_queue(describe, timeout=_CALL)
        if described.stats.approximate_backlog_count >= number:
            return


async def _remove(client: Client, workflow_id: str) -> None:
    with suppress(RPCError):
        await client.get_workflow_handle(workflow_id).terminate("holdfast doctor", rpc_timeout=_CALL)
        await client.workflow_service.delete_workflow_execution(
            DeleteWorkflowExecutionRequest(
                namespace=client.namespace, workflow_execution=WorkflowExecution(workflow_id=workflow_id)
            ),
            timeout=_CALL,
        )
