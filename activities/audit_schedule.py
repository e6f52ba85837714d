"""The Temporal schedule that runs AuditWorkflow."""

from dataclasses import replace
from datetime import timedelta

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

    An existing schedule gets this release's interval and action; a paused one stays paused. Raises RPCError.
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

    def updated(current: ScheduleUpdateInput) -> ScheduleUpdate | None:
        existing = current.description.schedule
        interval = [spec.every for spec in existing.spec.intervals]
        action = existing.action
        queue = action.task_queue if isinstance(action, ScheduleActionStartWorkflow) else None
        if (interval, queue) == ([AUDIT_INTERVAL], task_queue):
            return None
        return ScheduleUpdate(schedule=replace(schedule, state=existing.state))

    try:
        await client.create_schedule(AUDIT_SCHEDULE, schedule)
    except ScheduleAlreadyRunningError:
        await client.get_schedule_handle(AUDIT_SCHEDULE).update(updated)
