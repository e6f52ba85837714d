"""The Temporal schedule that runs AuditWorkflow."""

from copy import copy
from dataclasses import replace
from datetime import timedelta

from temporalio.api.common.v1 import Payload
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)

from workflows.audit import AuditWorkflow
from workflows.findings import AuditRequest

AUDIT_SCHEDULE = "holdfast-audit"
AUDIT_INTERVAL = timedelta(minutes=5)
"""The stock of a hold whose workflow is missing stays held at most this long after its deadline."""


async def schedule_audit(client: Client, task_queue: str) -> None:
    """Create the schedule, which runs the audit every five minutes. Every worker calls this at its start.

    An existing schedule becomes this release's, whatever differs; a paused one stays paused. Raises RPCError.
    """
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(
            AuditWorkflow.run,
            AuditRequest(),
            id="audit",
            task_queue=task_queue,
            execution_timeout=AUDIT_INTERVAL * 2,  # an audit that no worker executes must not block the next one
            static_summary="Audit of stock and workflows",
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=AUDIT_INTERVAL)]),
        # Concurrent audits, and one for each interval of an outage, would find nothing more.
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=timedelta(minutes=1)),
    )

    async def updated(current: ScheduleUpdateInput) -> ScheduleUpdate | None:
        existing = await _decoded(client, current.description.schedule)
        wanted = replace(schedule, state=existing.state)
        return None if existing == wanted else ScheduleUpdate(schedule=wanted)

    try:
        await client.create_schedule(AUDIT_SCHEDULE, schedule)
    except ScheduleAlreadyRunningError:
        await client.get_schedule_handle(AUDIT_SCHEDULE).update(updated)


async def _decoded(client: Client, described: Schedule) -> Schedule:
    """Return the schedule with the values of its action, which a description has as payloads."""
    if not isinstance(described.action, ScheduleActionStartWorkflow):
        return described
    action = copy(described.action)
    action.args = await client.data_converter.decode(list(action.args), [AuditRequest])
    action.static_summary = await _text(client, action.static_summary)
    action.static_details = await _text(client, action.static_details)
    return replace(described, action=action)


async def _text(client: Client, described: str | Payload | None) -> str | None:
    if not isinstance(described, Payload):
        return described
    if not described.metadata:
        return None
    text: str = (await client.data_converter.decode([described], [str]))[0]
    return text
