"""Whether a worker polls: what Temporal knows of it, not what the process believes."""

from datetime import timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

_CALL = timedelta(seconds=4)
_KINDS = (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)


async def last_polls(client: Client, task_queue: str) -> list[int]:
    """Return when the client's worker last polled for workflows and for activities, by the server's clock; 0 is never.

    Compare two answers only with each other: an earlier process may have had the same identity. Raises RPCError, also
    if the namespace does not exist.
    """
    last = []
    for kind in _KINDS:
        request = DescribeTaskQueueRequest(
            namespace=client.namespace, task_queue=TaskQueue(name=task_queue), task_queue_type=kind
        )
        described = await client.workflow_service.describe_task_queue(request, timeout=_CALL)
        own = [poller.last_access_time for poller in described.pollers if poller.identity == client.identity]
        last.append(max((time.ToNanoseconds() for time in own), default=0))
    return last
