"""Reads the clock of a Temporal server, which no call of its API returns.

The server records when a task queue was last polled. The doctor polls a queue of its own and reads that record, which
was written between the poll and the answer. No workflow is started, and nothing else uses the queue.
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

from cli.doctor.clocks import ClockReading

QUEUE = "holdfast-doctor"
_CALL = timedelta(seconds=3)


async def read_temporal_clock(client: Client, now: Callable[[], float]) -> ClockReading:
    """Read the server's clock between two readings of this machine's."""
    identity = f"holdfast-doctor-{uuid.uuid4().hex}"
    queue = TaskQueue(name=QUEUE)
    poll = PollWorkflowTaskQueueRequest(namespace=client.namespace, task_queue=queue, identity=identity)
    describe = DescribeTaskQueueRequest(
        namespace=client.namespace, task_queue=queue, task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
    )
    before = now()
    polling = asyncio.create_task(client.workflow_service.poll_workflow_task_queue(poll, timeout=_CALL))
    try:
        while True:
            described = await client.workflow_service.describe_task_queue(describe, timeout=_CALL)
            after = now()
            for poller in described.pollers:
                if poller.identity == identity:
                    return ClockReading(before, poller.last_access_time.ToMicroseconds() / 1e6, after)
            await asyncio.sleep(0.02)
    finally:
        polling.cancel()
        with suppress(RPCError, asyncio.CancelledError):
            await polling
