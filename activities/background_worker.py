"""The background worker: audit, alerts and events, on a task queue of their own, so that no hold waits for them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker, WorkflowRunner

from activities.alerts import AlertActivities
from activities.audit import AuditActivities
from activities.audit_schedule import schedule_audit
from activities.certificate_watch import CertificateWatch
from activities.events import EventActivities, make_http_client
from activities.outbox_relay import OutboxRelay
from activities.parameter_sweep import sweep_parameters
from activities.payments_schedule import schedule_reconciliation
from activities.reconciliation import ReconcileActivities
from core.database import create_engine
from core.metrics import Telemetry
from core.outage_log import OutageLog
from core.settings import TASK_QUEUE, Settings
from core.temporal import SHUTDOWN_GRACE
from core.worker_versioning import deployment_config
from core.workflow_runner import FreeingWorkflowRunner
from holds.event_delivery import background_task_queue
from holds.payment_reconciliation import PaymentReconciler, lookback
from holds.payments_service import PaymentsService
from holds.service import HoldService
from holds.workflow_client import WorkflowClient
from payments.accounts import PaymentAccounts, open_accounts
from workflows.audit import AuditWorkflow
from workflows.hold_events import HoldEventsWorkflow
from workflows.low_stock import LowStockAlertWorkflow
from workflows.low_stock_digest import LowStockDigestWorkflow
from workflows.payment_reconciliation import PaymentReconciliationWorkflow

_CONNECTIONS = 3
_ACTIVITY_SLOTS = 32
"""A receiver that does not answer occupies a slot for seconds. The holds' worker has slots of its own."""
_WORKFLOW_TASK_SLOTS = 20
_CACHED_WORKFLOWS = 500
_RETRY_SECONDS = 15.0


@asynccontextmanager
async def background_worker(
    client: Client,
    settings: Settings,
    telemetry: Telemetry,
    *,
    task_queue: str = TASK_QUEUE,
    workflow_runner: WorkflowRunner | None = None,
    scheduled: bool = True,
) -> AsyncIterator[None]:
    """Run the background worker while the block runs. `task_queue` is the queue of the holds."""
    stack = AsyncExitStack()
    accounts = await stack.enter_async_context(open_accounts(settings))
    engine = create_engine(settings, pool_size=_CONNECTIONS)
    queue = background_task_queue(task_queue)
    http = make_http_client()
    audit = AuditActivities(engine, client, settings, telemetry, task_queue=task_queue)
    events = EventActivities(http, settings, telemetry)
    alerts = AlertActivities(engine, settings, telemetry)
    reconciler = _reconciler(engine, client, settings, accounts, task_queue) if accounts.each else None
    reconcile = ReconcileActivities(reconciler, telemetry)
    relay = OutboxRelay(engine, client, settings, telemetry, task_queue=queue)
    worker = Worker(
        client,
        task_queue=queue,
        workflows=[
            AuditWorkflow,
            HoldEventsWorkflow,
            LowStockDigestWorkflow,
            LowStockAlertWorkflow,
            PaymentReconciliationWorkflow,
        ],
        activities=[
            audit.audit_stock,
            audit.audit_workflows,
            events.post_event,
            events.give_up_event,
            alerts.mail_low_stock,
            alerts.still_low,
            alerts.read_low_items,
            alerts.mail_low_stock_digest,
            reconcile.reconcile_payments,
            reconcile.report_reconciliation,
        ],
        workflow_runner=workflow_runner or FreeingWorkflowRunner(),
        max_cached_workflows=_CACHED_WORKFLOWS,
        max_concurrent_workflow_tasks=_WORKFLOW_TASK_SLOTS,
        max_concurrent_activities=_ACTIVITY_SLOTS,
        graceful_shutdown_timeout=SHUTDOWN_GRACE,
        deployment_config=deployment_config(settings.worker_build_id, settings.worker_deployment),
    )
    tasks = [asyncio.create_task(relay.run()), asyncio.create_task(sweep_parameters(engine))]
    if scheduled:
        tasks.append(asyncio.create_task(CertificateWatch(settings, telemetry).run()))
        tasks.append(asyncio.create_task(_schedule(client, queue, settings, payments=bool(accounts.each))))
    if settings.alert_recipients and not settings.smtp_url.get_secret_value():
        structlog.get_logger("worker").warning("STOCK_ALERT_RECIPIENT is set but SMTP_URL is not; no mail is sent")
    try:
        async with worker:
            yield
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await http.aclose()
        await stack.aclose()
        await engine.dispose()


def _reconciler(
    engine: AsyncEngine, client: Client, settings: Settings, accounts: PaymentAccounts, task_queue: str
) -> PaymentReconciler:
    workflows = WorkflowClient(client, task_queue)
    holds = HoldService(engine, workflows, settings)
    payments = PaymentsService(engine, holds, workflows, settings, accounts)
    return PaymentReconciler(engine, payments, workflows, accounts, progress=activity.heartbeat)


async def _schedule(client: Client, queue: str, settings: Settings, *, payments: bool) -> None:
    """Create the schedules, retrying while Temporal cannot be reached. That of `payments` needs Stripe's key."""
    outage = OutageLog("worker", fails="cannot create the schedules; retrying", works="the schedules are created")
    while True:
        try:
            await schedule_audit(client, queue)
            if payments:
                await schedule_reconciliation(client, queue, lookback(settings.payment_graces))
        except RPCError as error:
            outage.failed(error)
        else:
            outage.worked()
            return
        await asyncio.sleep(_RETRY_SECONDS)
