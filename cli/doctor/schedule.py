"""Checks that the audit is scheduled and runs."""

from datetime import UTC, datetime, timedelta

from temporalio.client import Client, ScheduleDescription
from temporalio.service import RPCError, RPCStatusCode

from activities.audit_schedule import AUDIT_SCHEDULE
from cli.doctor.results import CheckResult, fault, ok

_AREA = "temporal"
_NAME = "audit schedule"
_CALL = timedelta(seconds=4)
_LATE_INTERVALS = 3


async def check_audit_schedule(
    client: Client, schedule_id: str = AUDIT_SCHEDULE, *, at: datetime | None = None
) -> list[CheckResult]:
    """Check the schedule, and that its last run began at most three intervals before `at` (now)."""
    try:
        described = await client.get_schedule_handle(schedule_id).describe(rpc_timeout=_CALL)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return [fault(_AREA, _NAME, f"{schedule_id} is missing", "start a worker, which creates it")]
    return [_evaluate(described, at or datetime.now(UTC))]


def _evaluate(described: ScheduleDescription, at: datetime) -> CheckResult:
    if described.schedule.state.paused:
        fix = f"temporal schedule toggle --unpause --schedule-id {described.id} --reason 'on again'"
        return fault(_AREA, _NAME, f"{described.id} is paused", fix)
    intervals = [spec.every for spec in described.schedule.spec.intervals]
    started = [action.started_at for action in described.info.recent_actions]
    last = max([*started, described.info.created_at])
    if intervals and at - last > min(intervals) * _LATE_INTERVALS:
        minutes = (at - last).total_seconds() / 60
        fix = "see its runs in the Temporal UI: a run that hangs prevents the next one; check that a worker runs"
        return fault(_AREA, _NAME, f"{described.id} has not run for {minutes:.0f} min", fix)
    return ok(_AREA, _NAME, f"{described.id}, last run {last:%H:%M} UTC" if started else described.id)
