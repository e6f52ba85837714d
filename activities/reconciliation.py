"""The activities of the reconciliation: look at pages of Stripe's list, log and count what was found."""

from collections import Counter

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.database_errors import database_errors_retried
from activities.payments_schedule import last_run_before
from core.metrics import Telemetry
from holds.errors import HoldsError
from holds.payment_reconciliation import PaymentReconciler, ReconciledPage
from payments.errors import StripeRefusedError, StripeUnavailableError
from workflows.payment_reconciliation import (
    MAX_REPORTED,
    ReconciledPart,
    ReconcilePort,
    ReconcileReport,
    ReconcileWindow,
    UnheardPayment,
)

_PAGES = 10
"""In one attempt: few enough that a worker's death repeats little, many enough for a short history."""


class ReconcileActivities(ReconcilePort):
    """ReconcilePort on Stripe. Without a reconciler, because no key is set, there is nothing to look at."""

    def __init__(self, reconciler: PaymentReconciler | None, telemetry: Telemetry) -> None:
        self._reconciler = reconciler
        self._telemetry = telemetry

    @activity.defn(name="reconcile-payments")
    async def reconcile_payments(self, window: ReconcileWindow) -> ReconciledPart:
        """Look at up to ten pages."""
        if self._reconciler is None:
            return ReconciledPart(0)
        looked_at, unread, found, after = 0, 0, list[UnheardPayment](), window.after
        for _ in range(_PAGES):
            page = await self._page(self._reconciler, ReconcileWindow(window.since, window.until, after))
            looked_at, unread, after = looked_at + page.looked_at, unread + page.unread, page.next_after
            found += page.found
            if after is None:
                break
        shown = [each for each in found if each.kind != "wrong_account"]
        kinds = Counter[str](each.kind for each in found)
        return ReconciledPart(looked_at, dict(kinds), shown[:MAX_REPORTED], after, unread)

    async def _page(self, reconciler: PaymentReconciler, window: ReconcileWindow) -> ReconciledPage:
        try:
            with database_errors_retried():
                page = await reconciler.page(window, last_run=last_run_before(window.until))
        except (StripeUnavailableError, StripeRefusedError) as error:
            raise ApplicationError(f"Stripe: {error}", type="away") from error
        except HoldsError as error:
            raise ApplicationError(str(error), type="unavailable") from error
        for each in page.found:
            self._telemetry.unheard_payment(
                each.kind, shop_id=each.shop_id, hold_id=each.hold_id, payment_id=each.payment_intent_id
            )
        return page

    @activity.defn(name="report-reconciliation")
    async def report_reconciliation(self, report: ReconcileReport) -> None:
        """Count that a reconciliation was completed, unless Stripe refused to list the payments of an account."""
        self._telemetry.reconciled(report.looked_at, sum(report.found.values()), report.unread)
