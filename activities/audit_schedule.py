"""The audit's schedule, made by whichever worker starts first. Not deterministic code: no workflow imports this."""

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
"""How long the stock of a hold whose workflow was lost stays held after its deadline, at most."""


async def schedule_audit(client: Client, task_queue: str) -> None:
    """Have the audit run every five minutes from now on. May be repeated, and by several at once.

    A schedule that is there gets this release's interval and action, and stays paused if somebody has paused it.
    Raises RPCError where Temporal is out of reach.
    """
    wanted = Schedule(
        action=ScheduleActionStartWorkflow(
            AuditWorkflow.run,
            AuditRequest(),
            id="audit",
            task_queue=task_queue,
            execution_timeout=AUDIT_INTERVAL * 2,  # an audit that no worker takes makes room for the next
            static_summary="Does the stock add up, and does every active hold have a workflow?",
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=AUDIT_INTERVAL)]),
        # After an outage one audit is enough, and two at once see no more than one.
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=timedelta(minutes=1)),
    )

    def renewed(there: ScheduleUpdateInput) -> ScheduleUpdate | None:
        schedule = there.description.schedule
        interval = [spec.every for spec in schedule.spec.intervals]
        queue = getattr(schedule.action, "task_queue", None)
        if (interval, queue) == ([AUDIT_INTERVAL], task_queue):
            return None
        return ScheduleUpdate(schedule=replace(wanted, state=schedule.state))

    try:
        await client.create_schedule(AUDIT_SCHEDULE, wanted)
    except ScheduleAlreadyRunningError:
        await client.get_schedule_handle(AUDIT_SCHEDULE).update(renewed)
