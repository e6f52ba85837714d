"""The Temporal schedule that runs PaymentReconciliationWorkflow."""

from datetime import UTC, datetime, timedelta

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
from workflows.payment_reconciliation import WINDOW, PaymentReconciliationWorkflow, ReconcileRequest

PAYMENTS_SCHEDULE = "holdfast-payments"
_EVERY = timedelta(days=1)
_AT = timedelta(hours=3, minutes=20)
"""Of the day in UTC, away from the full hour."""


async def schedule_reconciliation(client: Client, task_queue: str, lookback: timedelta = WINDOW) -> None:
    """Create the schedule, which compares payments with holds once a day. Every worker with a Stripe key calls this.

    `lookback`: of payments that were begun since so long.

    An existing schedule becomes this release's, whatever differs; a paused one stays paused. Raises RPCError.
    """
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(
            PaymentReconciliationWorkflow.run,
            ReconcileRequest(lookback_seconds=int(lookback.total_seconds())),
            id="payments",
            task_queue=task_queue,
            execution_timeout=_EVERY,
            static_summary="Payments of which no event arrived",
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=_EVERY, offset=_AT)]),
        # Two at once would find nothing more; a day that was missed in an outage is made up for.
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=timedelta(hours=12)),
    )
    await ensure_schedule(client, PAYMENTS_SCHEDULE, schedule, ReconcileRequest)


def last_run_before(time: datetime) -> datetime:
    """Return when the schedule ran before its run that was due last at this time, however late that one began."""
    into_the_day = (time - datetime.fromtimestamp(0, UTC) - _AT) % _EVERY
    return time - into_the_day - _EVERY
