"""PaymentReconciliationWorkflow: finds payments of which no event arrived. Scheduled once a day."""

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from temporalio import activity, workflow
from temporalio.common import RetryPolicy

from workflows.cancellation import run_despite_cancellation
from workflows.run_details import RunDetails
from workflows.ui_text import plain

WINDOW = timedelta(days=30)
"""Longer than the slowest payment takes by default, and than Stripe repeats an event."""
MAX_REPORTED = 100
_SHOWN = 20
_PART = timedelta(minutes=30)
_HEARTBEAT = timedelta(minutes=2)
_RETRY = RetryPolicy(initial_interval=timedelta(seconds=5), maximum_interval=timedelta(minutes=10))

UnheardKind = Literal["active", "late", "unknown_hold", "wrong_account"]
"""What was found.

- `active`: a payment of an active hold, which was told of it.
- `late`: a payment of a hold that had ended; a case was opened.
- `unknown_hold`: a payment that names a hold which the shop does not have; a case was opened.
- `wrong_account`: a payment that names a hold of a shop which has no payments in that Stripe account. Nothing is done
  for it. It is only counted in messages: a worker of an earlier release does not know the word.
"""


@dataclass(frozen=True)
class UnheardPayment:
    """A payment that was made and that no hold and no case knew. Recorded in histories: fields are only added."""

    kind: UnheardKind
    payment_intent_id: str
    shop_id: str
    hold_id: str


@dataclass(frozen=True)
class ReconcileWindow:
    """Which PaymentIntents to look at, by their creation."""

    since: datetime
    until: datetime
    after: str | None = None
    """The last PaymentIntent that was looked at; they are listed from the newest to the oldest."""


@dataclass(frozen=True)
class ReconciledPart:
    """The result of some pages of the list."""

    looked_at: int
    found: dict[str, int] = field(default_factory=dict)
    """The number of unheard payments by kind."""
    first: list[UnheardPayment] = field(default_factory=list)
    next_after: str | None = None
    """None: this was the last part."""
    unread: int = 0
    """The number of accounts whose payments Stripe refused to list."""


@dataclass(frozen=True)
class ReconcileRequest:
    """What to look at: the window before the run's start unless it is given. With what earlier runs found."""

    window: ReconcileWindow | None = None
    looked_at: int = 0
    found: dict[str, int] = field(default_factory=dict)
    first: list[UnheardPayment] = field(default_factory=list)
    unread: int = 0
    lookback_seconds: int | None = None
    """How long the window before the start is; None for 30 days."""


@dataclass(frozen=True)
class ReconcileReport:
    """The result of a reconciliation."""

    looked_at: int
    found: dict[str, int] = field(default_factory=dict)
    first: list[UnheardPayment] = field(default_factory=list)
    unread: int = 0
    """As in ReconciledPart: it is not complete unless this is 0."""


class ReconcilePort(ABC):
    """Compares Stripe's payments with holds."""

    @activity.defn(name="reconcile-payments")
    @abstractmethod
    async def reconcile_payments(self, window: ReconcileWindow) -> ReconciledPart:
        """Look at some pages of the list, and hand over each payment that nobody knows. May be repeated."""

    @activity.defn(name="report-reconciliation")
    @abstractmethod
    async def report_reconciliation(self, report: ReconcileReport) -> None:
        """Count that a reconciliation was completed."""


@workflow.defn(name="PaymentReconciliationWorkflow")
class PaymentReconciliationWorkflow(RunDetails):
    """Looks once at the payments of a window, part by part, so that a crash repeats one part only."""

    @workflow.run
    async def run(self, request: ReconcileRequest) -> ReconcileReport:
        """Look at all payments of the window."""
        return await run_despite_cancellation(self._run(request), self.note_cancellation)

    async def _run(self, request: ReconcileRequest) -> ReconcileReport:
        now = workflow.now()
        lookback = WINDOW if request.lookback_seconds is None else timedelta(seconds=request.lookback_seconds)
        window = request.window or ReconcileWindow(now - lookback, now)
        while True:
            part = await workflow.execute_activity_method(
                ReconcilePort.reconcile_payments,
                window,
                summary=f"look at payments, newest first, after {window.after}" if window.after else "look at payments",
                start_to_close_timeout=_PART,
                heartbeat_timeout=_HEARTBEAT,
                retry_policy=_RETRY,
            )
            request = ReconcileRequest(
                window,
                request.looked_at + part.looked_at,
                dict(Counter(request.found) + Counter(part.found)),
                [*request.first, *part.first][:MAX_REPORTED],
                request.unread + part.unread,
            )
            self.show_step(_details(request))
            if part.next_after is None:
                break
            window = replace(window, after=part.next_after)
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(replace(request, window=window))
        report = ReconcileReport(request.looked_at, request.found, request.first, request.unread)
        await workflow.execute_activity_method(
            ReconcilePort.report_reconciliation,
            report,
            summary="report the end",
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=_RETRY,
        )
        return report


def _details(request: ReconcileRequest) -> str:
    """Return what was found so far for the Temporal UI, as markdown."""
    head = f"{request.looked_at} payments."
    if request.unread:
        head += f" Stripe refused to list those of {request.unread} accounts."
    if not request.found:
        return f"{head} Each payment has its hold or its case."
    kinds = ", ".join(f"{kind}: {count}" for kind, count in sorted(request.found.items()))
    rows = [
        f"- {each.kind}: {plain(each.payment_intent_id)} of hold {plain(each.hold_id)} of {plain(each.shop_id)}"
        for each in request.first[:_SHOWN]
    ]
    return "\n".join([f"{head} No event had told of {kinds}.", "", *rows])
