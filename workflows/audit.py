"""AuditWorkflow: compares items with holds and movements, and active holds with workflows. Scheduled."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import Literal

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from workflows.activity_calls import cause_of
from workflows.cancellation import run_despite_cancellation
from workflows.findings import AuditPart, AuditPort, AuditReport, AuditRequest, not_checked, part_of, report_of
from workflows.run_details import RunDetails
from workflows.ui_text import plain

# 100,000 items take seconds. An audit must end within the schedule's interval of five minutes.
_TIMEOUT = timedelta(minutes=4)
_HEARTBEAT = timedelta(seconds=30)
_RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30))
_SHOWN = 20


@workflow.defn(name="AuditWorkflow")
class AuditWorkflow(RunDetails):
    """Audits once and reports. Holds whose workflow is missing are resumed; the other repairs are left to a person."""

    @workflow.run
    async def run(self, request: AuditRequest) -> AuditReport:
        """Check the stock and the workflows, each even if the other check fails."""
        return await run_despite_cancellation(self._check(request), self.note_cancellation)

    async def _check(self, request: AuditRequest) -> AuditReport:
        stock, workflows = await asyncio.gather(
            _part(
                "stock",
                workflow.execute_activity_method(
                    AuditPort.audit_stock,
                    request,
                    summary="compare items with holds and movements",
                    schedule_to_close_timeout=_TIMEOUT,
                    heartbeat_timeout=_HEARTBEAT,
                    retry_policy=_RETRY,
                ),
            ),
            _part(
                "workflows",
                workflow.execute_activity_method(
                    AuditPort.audit_workflows,
                    request,
                    summary="compare active holds with running workflows",
                    schedule_to_close_timeout=_TIMEOUT,
                    heartbeat_timeout=_HEARTBEAT,
                    retry_policy=_RETRY,
                ),
            ),
        )
        report = report_of(stock, workflows)
        self.show_step(_details(report))
        return report


async def _part(subject: Literal["stock", "workflows"], check: Awaitable[AuditPart]) -> AuditPart:
    """Return the result of the check; its failure is a finding too."""
    try:
        return await check
    except ActivityError as error:
        return part_of(0, [not_checked(subject, cause_of(error))])


def _details(report: AuditReport) -> str:
    """Return the report for the Temporal UI, as markdown."""
    head = f"{report.items} items, {report.active_holds} active holds."
    if report.clean:
        return f"{head} Nothing is wrong."
    kinds = ", ".join(f"{kind}: {count}" for kind, count in sorted(report.found.items()))
    sentences = [f"- {plain(finding.sentence)}" for finding in report.first[:_SHOWN]]
    return "\n".join([f"{head} Found {kinds}.", "", *sentences])
