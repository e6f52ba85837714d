"""Checks that the audit, and the comparison of payments with holds, are scheduled and run."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from temporalio.client import Client, ScheduleDescription
from temporalio.service import RPCError, RPCStatusCode

from cli.doctor import database
from cli.doctor.results import CheckResult, fault, not_applicable, ok

_AREA = "temporal"
_CALL = timedelta(seconds=4)
_CAUSES = ("temporal: workers", "temporal: worker answers", *database.CAUSES, "stripe: key works")
"""Faults without which the runs would begin, or end so that the next one begins."""


async def check_schedule(
    client: Client, name: str, schedule_id: str | None, late: timedelta, now: Callable[[], float] = time.time
) -> list[CheckResult]:
    """Check the schedule, and that its last run began at most so long ago. `now` is the server's clock.

    Without an id nothing is to be scheduled here: only payments, and those without a Stripe key.
    """
    name = f"{name} schedule"
    if schedule_id is None:
        return [not_applicable(_AREA, name, "STRIPE_API_KEY is not set")]
    try:
        described = await client.get_schedule_handle(schedule_id).describe(rpc_timeout=_CALL)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        fix = "restart a worker, which creates it"
        return [fault(_AREA, name, f"{schedule_id} is missing", fix, ("temporal: workers",))]
    return [_evaluate(name, described, late, datetime.fromtimestamp(now(), UTC))]


def _evaluate(name: str, described: ScheduleDescription, late: timedelta, at: datetime) -> CheckResult:
    if described.schedule.state.paused:
        fix = f"temporal schedule toggle --unpause --schedule-id {described.id} --reason 'on again'"
        return fault(_AREA, name, f"{described.id} is paused", fix)
    started = [action.started_at for action in described.info.recent_actions]
    last = max([*started, described.info.created_at])
    if at - last > late:
        minutes = (at - last).total_seconds() / 60
        fix = "see its runs in the Temporal UI: a run that hangs prevents the next one; check that a worker runs"
        return fault(_AREA, name, f"{described.id} has not run for {minutes:.0f} min", fix, _CAUSES)
    return ok(_AREA, name, f"{described.id}, last run {last:%m-%d %H:%M} UTC" if started else described.id)
