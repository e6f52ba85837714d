"""The audit's activities: run both audits, log and count the findings."""

from typing import Literal

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.client import Client

from activities.database_errors import database_errors_retried
from core.metrics import Telemetry
from core.rests import NO_RESTS, Rests
from core.settings import Settings
from holds.audit_findings import finding_of_missing, finding_of_orphaned, findings_of_drift
from holds.audit_stock import StockAuditor
from holds.audit_workflows import WorkflowAuditor
from inventory.moments import Moment, note
from workflows.findings import AuditPart, AuditPort, AuditRequest, Finding, part_of


class AuditActivities(AuditPort):
    """Implements AuditPort."""

    def __init__(
        self, engine: AsyncEngine, temporal: Client, settings: Settings, telemetry: Telemetry, *, task_queue: str
    ) -> None:
        self._engine = engine
        self._stock = StockAuditor(engine, activity.heartbeat)
        self._workflows = WorkflowAuditor(
            engine, temporal, settings, task_queue=task_queue, progress=activity.heartbeat
        )
        self._telemetry = telemetry

    @activity.defn(name="audit-stock")
    async def audit_stock(self, request: AuditRequest) -> AuditPart:
        """Compare every item with its active holds and its last movement."""
        with database_errors_retried():
            audit = await self._stock.check(request.shop_id, _rests())
        findings = [finding for drift in audit.drifts for finding in findings_of_drift(drift)]
        return await self._report("stock", audit.items, findings, request)

    @activity.defn(name="audit-runs")
    async def audit_workflows(self, request: AuditRequest) -> AuditPart:
        """Compare active holds with running workflows, and resume the holds whose workflow is missing."""
        with database_errors_retried():
            audit = await self._workflows.check(request.shop_id, _rests())
        findings = [*map(finding_of_missing, audit.missing), *map(finding_of_orphaned, audit.orphaned)]
        return await self._report("runs", audit.active_holds, findings, request)

    async def _report(
        self, at: Literal["stock", "runs"], looked_at: int, findings: list[Finding], request: AuditRequest
    ) -> AuditPart:
        # First: another attempt would find nothing of what this one has mended.
        self._telemetry.audited(
            at,
            looked_at,
            [(f.kind, f.mended, {"shop_id": f.shop_id, "subject": f.subject, "problem": f.sentence}) for f in findings],
        )
        if request.shop_id is None:
            await note(self._engine, Moment.AUDIT_STOCK if at == "stock" else Moment.AUDIT_RUNS)
        return part_of(looked_at, findings)


def _rests() -> Rests:
    """Return the rests of this attempt. Another attempt has less time."""
    return Rests() if activity.info().attempt == 1 else NO_RESTS
