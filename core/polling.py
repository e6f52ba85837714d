"""Whether workers poll: what Temporal knows of it, not what a process believes."""

import time
from collections.abc import Sequence
from datetime import timedelta

from temporalio.api.enums.v1 import TaskQueueType, WorkerVersioningMode
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    ListTaskQueuePartitionsRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError

from core.temporal import NOT_ALLOWED

POLL_SECONDS = 75.0
"""A poll lasts a minute, and the server lists pollers for five minutes: an older one has stopped."""
_CALL = timedelta(seconds=4)
_KINDS = (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)
_EMPTY_LOOKS = 2
"""A server that restarts has forgotten the pollers until they poll again: one look without any means nothing."""
_VERSIONED = WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED


async def last_polls(client: Client, task_queue: str) -> list[int]:
    """Return when the client's worker last polled for workflows and for activities, by the server's clock; 0 is never.

    Compare two answers only with each other: an earlier process may have had the same identity. Raises RPCError, also
    if the namespace does not exist.
    """
    partitions = await _partitions(client, task_queue, _CALL)
    last = []
    for kind, names in zip(_KINDS, partitions, strict=True):
        described = [await _describe(client, name, kind, _CALL) for name in names]
        pollers = [poller for each in described for poller in each.pollers if poller.identity == client.identity]
        last.append(max((poller.last_access_time.ToNanoseconds() for poller in pollers), default=0))
    return last


async def last_poll_of_workers(client: Client, task_queue: str, within: timedelta) -> int:
    """Return when a worker last polled for activities, by the server's clock; 0 if none has within five minutes.

    A process of the API polls for workflows only. Where Temporal routes by build, workers of the current build count
    only. Raises RPCError.
    """
    _, names = await _partitions(client, task_queue, within)
    described = [await _describe(client, name, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY, within) for name in names]
    current = described[0].versioning_info.current_deployment_version.build_id
    polls = [
        poller.last_access_time.ToNanoseconds()
        for poller in (poller for each in described for poller in each.pollers)
        if current
        == (
            poller.deployment_options.build_id if poller.deployment_options.worker_versioning_mode == _VERSIONED else ""
        )
    ]
    return max(polls, default=0)


async def _partitions(client: Client, task_queue: str, within: timedelta) -> tuple[list[str], list[str]]:
    """Return the names of the queue's partitions for workflows and for activities, the root, named as the queue, first.

    Each has pollers of its own. Where they may not be listed, it is the root alone.
    """
    request = ListTaskQueuePartitionsRequest(namespace=client.namespace, task_queue=TaskQueue(name=task_queue))
    try:
        listed = await client.workflow_service.list_task_queue_partitions(request, timeout=within)
    except RPCError as error:
        if error.status not in NOT_ALLOWED:
            raise
        return [task_queue], [task_queue]
    of_workflows = [partition.key for partition in listed.workflow_task_queue_partitions]
    of_activities = [partition.key for partition in listed.activity_task_queue_partitions]
    return of_workflows or [task_queue], of_activities or [task_queue]


async def _describe(
    client: Client, task_queue: str, kind: "TaskQueueType.ValueType", within: timedelta
) -> DescribeTaskQueueResponse:
    request = DescribeTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=task_queue), task_queue_type=kind
    )
    return await client.workflow_service.describe_task_queue(request, timeout=within)


class Freshness:
    """Whether the last poll is recent, although the server's clock and this machine's may differ.

    A poll that is later than the one seen before is recent, whatever the clocks say. Only the first is compared with
    this machine's clock.
    """

    def __init__(self, seen: int | None = None) -> None:
        """Begin with a poll that was seen before and does not count."""
        self._seen = seen
        self._recent_until = 0.0
        self._empty_looks = 0

    def is_recent(self, poll: int) -> bool:
        """Tell whether the poll, in nanoseconds by the server's clock, or one seen before is recent; 0 is none."""
        now = time.monotonic()
        if self._seen is None:
            self._recent_until = now + POLL_SECONDS - max(time.time() - poll / 1e9, 0)
        elif poll > self._seen:
            self._recent_until = now + POLL_SECONDS
        self._seen = poll
        self._empty_looks = 0 if poll else self._empty_looks + 1
        return self._empty_looks < _EMPTY_LOOKS and now < self._recent_until


class OwnPolls:
    """Whether a worker of this process polls. `earlier` are the `last_polls` before it began."""

    def __init__(self, client: Client, task_queue: str, earlier: Sequence[int]) -> None:
        self._client = client
        self._task_queue = task_queue
        self._freshness = [Freshness(poll) for poll in earlier]

    async def are_recent(self) -> bool:
        """Ask Temporal whether the worker polls, for workflows and for activities. Raises RPCError."""
        polls = await last_polls(self._client, self._task_queue)
        recent = [kind.is_recent(poll) for kind, poll in zip(self._freshness, polls, strict=True)]
        return all(recent)
