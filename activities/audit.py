"""The audit as activities: what its two eyes see is logged, counted and reported in sentences."""

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from core.database import DatabaseBusyError, DatabaseUnavailableError
from core.metrics import Telemetry
from core.settings import Settings
from holds.audit_stock import StockAuditor
from holds.audit_text import of_drift, of_lost_run, of_stray_run
from holds.audit_workflows import RunAuditor
from workflows.findings import AuditPort, AuditRequest, Finding, Looked, looked


class AuditActivities(AuditPort):
    """AuditPort that logs and counts what it finds."""

    def __init__(
        self, engine: AsyncEngine, temporal: Client, settings: Settings, telemetry: Telemetry, *, task_queue: str
    ) -> None:
        self._stock = StockAuditor(engine, activity.heartbeat)
        self._runs = RunAuditor(engine, temporal, settings, task_queue=task_queue, progress=activity.heartbeat)
        self._telemetry = telemetry

    @activity.defn(name="audit-stock")
    async def audit_stock(self, request: AuditRequest) -> Looked:
        """Compare every item with its active holds and its last movement."""
        try:
            items, drifts = await self._stock.look(request.shop_id)
        except (DatabaseBusyError, DatabaseUnavailableError) as error:
            raise ApplicationError(f"Postgres: {error}", type="unavailable") from error
        return self._reported("stock", items, [finding for drift in drifts for finding in of_drift(drift)])

    @activity.defn(name="audit-runs")
    async def audit_runs(self, request: AuditRequest) -> Looked:
        """Give active holds without a run a new one, and find the runs whose hold is not active."""
        try:
            holds, lost, stray = await self._runs.look(request.shop_id)
        except (DatabaseBusyError, DatabaseUnavailableError) as error:
            raise ApplicationError(f"Postgres: {error}", type="unavailable") from error
        return self._reported("runs", holds, [*map(of_lost_run, lost), *map(of_stray_run, stray)])

    def _reported(self, at: str, looked_at: int, findings: list[Finding]) -> Looked:
        self._telemetry.audited(
            at,
            looked_at,
            [(f.kind, f.mended, {"shop_id": f.shop_id, "subject": f.subject, "problem": f.sentence}) for f in findings],
        )
        return looked(looked_at, findings)
