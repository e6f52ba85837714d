"""The Temporal schedule that runs AuditWorkflow."""

from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
)

from activities.schedules import ensure_schedule
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
    await ensure_schedule(client, AUDIT_SCHEDULE, schedule, AuditRequest)
