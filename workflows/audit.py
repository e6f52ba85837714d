"""AuditWorkflow: does the stock add up, and does every active hold have a run? It looks every five minutes."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from workflows.findings import AuditPort, AuditReport, AuditRequest, Finding, Looked, looked, together

# A hundred thousand items take seconds; the interval of the schedule is what an audit may take at most.
_WHOLE = timedelta(minutes=4)
_HEARTBEAT = timedelta(seconds=30)
_RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30))
_SHOWN = 20


@workflow.defn(name="AuditWorkflow")
class AuditWorkflow:
    """Looks once and reports; what it can set right without a person it does."""

    @workflow.run
    async def run(self, request: AuditRequest) -> AuditReport:
        """Look at the stock and at the runs, each whatever becomes of the other."""
        stock, runs = await asyncio.gather(
            _surely(
                "the stock",
                workflow.execute_activity_method(
                    AuditPort.audit_stock,
                    request,
                    summary="compare items with holds and movements",
                    schedule_to_close_timeout=_WHOLE,
                    heartbeat_timeout=_HEARTBEAT,
                    retry_policy=_RETRY,
                ),
            ),
            _surely(
                "the workflows",
                workflow.execute_activity_method(
                    AuditPort.audit_runs,
                    request,
                    summary="compare active holds with running workflows",
                    schedule_to_close_timeout=_WHOLE,
                    heartbeat_timeout=_HEARTBEAT,
                    retry_policy=_RETRY,
                ),
            ),
        )
        report = together(stock, runs)
        workflow.set_current_details(_details(report))
        return report


async def _surely(what: str, look: Awaitable[Looked]) -> Looked:
    """Return what was found; that it could not be looked at is a finding too."""
    try:
        return await look
    except ActivityError as error:
        why = str(error.cause or error)
        return looked(0, [Finding("unknown", "", what, f"{what} could not be looked at: {why}")])


def _details(report: AuditReport) -> str:
    """Return the report as a person reads it in the Temporal UI."""
    head = f"{report.items} items, {report.active_holds} active holds."
    if report.clean:
        return f"{head} Nothing is wrong."
    kinds = ", ".join(f"{kind}: {count}" for kind, count in sorted(report.found.items()))
    sentences = [f"- `{finding.sentence.replace('`', chr(39))}`" for finding in report.first[:_SHOWN]]
    return "\n".join([f"{head} Found {kinds}.", "", *sentences])
