"""Checks the workers: how many poll, of which release, and whether one answers."""

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

from temporalio.api.enums.v1 import TaskQueueType, WorkerVersioningMode
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, DescribeWorkerDeploymentRequest
from temporalio.client import Client, WorkflowQueryFailedError, WorkflowQueryRejectedError
from temporalio.service import RPCError, RPCStatusCode

from cli.doctor.results import CheckResult, State, fault, not_applicable, ok
from core.error_messages import first_line
from core.settings import WORKER_DEPLOYMENT
from holds.event_delivery import background_task_queue

AREA = "temporal"
POLL_SECONDS = 75.0
"""A poll lasts a minute, and the server lists pollers for five minutes: an older one has stopped."""
_CALL = timedelta(seconds=4)
_START = (
    "start one: python -m worker, with the same TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE; "
    "if its process runs, it hangs: see its log, and restart it"
)
_VERSIONED = WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED
_METADATA = "__temporal_workflow_metadata"
"""A query that the SDK answers for every workflow, ended ones too."""


async def check_workers(
    client: Client, task_queue: str, release: str, deployment: str, now: Callable[[], float] = time.time
) -> list[CheckResult]:
    """Check the pollers of the task queue, their build, and that a worker answers a query.

    `now` is the server's clock.
    """
    kinds = {
        "workflows": TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        "activities": TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
    }
    pollers = {}
    for kind, number in kinds.items():
        request = DescribeTaskQueueRequest(
            namespace=client.namespace, task_queue=TaskQueue(name=task_queue), task_queue_type=number
        )
        described = await client.workflow_service.describe_task_queue(request, timeout=_CALL)
        pollers[kind] = _recent(described.pollers, now())
    return [
        *check_pollers(pollers["workflows"], pollers["activities"], release),
        *check_routing(pollers["workflows"], await _current_build(client, deployment), deployment),
        await _check_answer(client, task_queue),
    ]


def check_pollers(workflows: Sequence[PollerInfo], activities: Sequence[PollerInfo], release: str) -> list[CheckResult]:
    """Check that workers of this release poll for workflows and for activities, by those that polled lately."""
    for kind, found in (("workflows", workflows), ("activities", activities)):
        if not found:
            return [fault(AREA, "workers", f"no worker polls for {kind}: holds are not created or ended", _START)]
    versions: dict[str, set[str]] = {}
    for poller in workflows:
        build = poller.deployment_options.build_id or poller.worker_version_capabilities.build_id or "unknown"
        versions.setdefault(build, set()).add(poller.identity)
    builds = ", ".join(f"{len(who)} of version {build}" for build, who in sorted(versions.items()))
    if release not in versions:
        return [fault(AREA, "workers", f"{builds}; none of this release, {release}", "deploy this release's workers")]
    return [ok(AREA, "workers", builds)]


def check_routing(
    pollers: Iterable[PollerInfo], current: str, deployment: str = WORKER_DEPLOYMENT
) -> list[CheckResult]:
    """Check that workers of the current build poll; no result if workflows are not routed by build.

    `current` is the build that new workflows are routed to, empty for workers without a build id.
    """
    polling = {
        poller.deployment_options.build_id if poller.deployment_options.worker_versioning_mode == _VERSIONED else ""
        for poller in pollers
    }
    if polling | {current} == {""} or not polling:
        return []
    name = f"build {current}" if current else "workers without a build id"
    waiting = ", ".join(f"build {build}" for build in sorted(polling - {current, ""}))
    if current in polling:
        return [ok(AREA, "routing by build", f"holds are routed to {name}" + (f"; {waiting} waits" if waiting else ""))]
    to = f"--build-id {max(polling)}" if max(polling) else "--unversioned"
    fix = f"temporal worker deployment set-current-version --deployment-name {deployment} {to}"
    return [fault(AREA, "routing by build", f"holds are routed to {name}, and none polls", fix)]


async def _current_build(client: Client, deployment: str) -> str:
    request = DescribeWorkerDeploymentRequest(namespace=client.namespace, deployment_name=deployment)
    try:
        found = await client.workflow_service.describe_worker_deployment(request, timeout=_CALL)
    except RPCError as error:
        if error.status not in (RPCStatusCode.NOT_FOUND, RPCStatusCode.UNIMPLEMENTED):
            raise
        return ""
    return found.worker_deployment_info.routing_config.current_deployment_version.build_id


def _recent(pollers: Iterable[PollerInfo], now: float) -> list[PollerInfo]:
    since = now - POLL_SECONDS
    return [poller for poller in pollers if poller.last_access_time.ToMicroseconds() / 1e6 >= since]


async def _check_answer(client: Client, task_queue: str) -> CheckResult:
    """Query the newest workflow of a hold, and the newest one of the background worker.

    A process of the API may answer for the hold (HOLDFAST_API_RUNS_HOLDS), but only a worker for the other.
    """
    holds = f'WorkflowType = "HoldWorkflow" AND TaskQueue = "{task_queue}"'
    background = f'TaskQueue = "{background_task_queue(task_queue)}"'
    results = [await _check_query(client, query) for query in (holds, background)]
    return next((result for result in results if result.state is State.FAULT), results[0])


async def _check_query(client: Client, query: str) -> CheckResult:
    """Query the newest of these workflows, which only a running worker can answer."""
    newest = [each async for each in client.list_workflows(query, limit=1)]
    if not newest:
        return not_applicable(AREA, "worker answers", "no hold exists yet that could be queried")
    handle = client.get_workflow_handle(newest[0].id, run_id=newest[0].run_id)
    started = time.perf_counter()
    try:
        await handle.query(_METADATA, rpc_timeout=_CALL)
    except (WorkflowQueryFailedError, WorkflowQueryRejectedError) as error:
        fix = "see the worker's log: this release cannot replay a hold that an earlier release started"
        return fault(AREA, "worker answers", f"{newest[0].id}: {first_line(error)}", fix)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return not_applicable(AREA, "worker answers", "the newest hold is no longer in Temporal")
        found = f"no worker answered a query of {newest[0].id}"
        return fault(AREA, "worker answers", found, _START, (f"{AREA}: workers", f"{AREA}: routing by build"))
    return ok(AREA, "worker answers", f"in {(time.perf_counter() - started) * 1000:.0f} ms")
