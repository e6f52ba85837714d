"""The doctor on the schedule of the audit."""

from datetime import UTC, datetime, timedelta

from temporalio.client import Client, ScheduleDescription
from temporalio.service import RPCError, RPCStatusCode

from activities.audit_schedule import AUDIT_SCHEDULE
from cli.doctor.lines import Line, fault, ok

_CALL = timedelta(seconds=4)
_LATE_INTERVALS = 3


async def schedule_line(client: Client, schedule_id: str = AUDIT_SCHEDULE, *, at: datetime | None = None) -> list[Line]:
    """Say whether the audit is scheduled and runs; this release's, by this moment, unless told otherwise."""
    try:
        described = await client.get_schedule_handle(schedule_id).describe(rpc_timeout=_CALL)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return [fault("temporal", "audit schedule", f"{schedule_id} is missing", "start a worker: each makes it")]
    return [_judged(described, at or datetime.now(UTC))]


def _judged(described: ScheduleDescription, at: datetime) -> Line:
    if described.schedule.state.paused:
        fix = f"temporal schedule toggle --unpause --schedule-id {described.id} --reason 'on again'"
        return fault("temporal", "audit schedule", f"{described.id} is paused", fix)
    intervals = [spec.every for spec in described.schedule.spec.intervals]
    begun = [action.started_at for action in described.info.recent_actions]
    last = max([*begun, described.info.created_at])
    if intervals and at - last > min(intervals) * _LATE_INTERVALS:
        minutes = (at - last).total_seconds() / 60
        fix = "see its runs in the Temporal UI: one that hangs keeps the next from starting; is a worker running?"
        return fault("temporal", "audit schedule", f"{described.id} has not run for {minutes:.0f} min", fix)
    return ok("temporal", "audit schedule", f"{described.id}, last run {last:%H:%M} UTC" if begun else described.id)
