"""The clock of a Temporal server, which no call of its API tells.

It notes when a task queue was last polled. The doctor polls a queue of its own for a moment and reads that note: the
server wrote it between the poll and the answer. Nothing is started, and nobody else uses that queue.
"""

import asyncio
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, PollWorkflowTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

from cli.doctor.clocks import Reading, clock_line
from cli.doctor.lines import Line

QUEUE = "holdfast-doctor"
_CALL = timedelta(seconds=3)


async def temporal_clock_line(client: Client, now: Callable[[], float]) -> list[Line]:
    """Say how far the server's clock is from this machine's."""
    return [clock_line("temporal", "Temporal", await _read(client, now))]


async def _read(client: Client, now: Callable[[], float]) -> Reading:
    identity = f"holdfast-doctor-{uuid.uuid4().hex}"
    queue = TaskQueue(name=QUEUE)
    poll = PollWorkflowTaskQueueRequest(namespace=client.namespace, task_queue=queue, identity=identity)
    ask = DescribeTaskQueueRequest(
        namespace=client.namespace, task_queue=queue, task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
    )
    before = now()
    polling = asyncio.create_task(client.workflow_service.poll_workflow_task_queue(poll, timeout=_CALL))
    try:
        while True:
            described = await client.workflow_service.describe_task_queue(ask, timeout=_CALL)
            after = now()
            for poller in described.pollers:
                if poller.identity == identity:
                    return Reading(before, poller.last_access_time.ToMicroseconds() / 1e6, after)
            await asyncio.sleep(0.02)
    finally:
        polling.cancel()
        with suppress(RPCError, asyncio.CancelledError):
            await polling
