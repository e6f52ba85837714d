"""`holdfast audit`: audits once, prints the findings, and with `--repair` repairs what can be repaired."""

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from temporalio.service import RPCError

from cli.connections import Connections, require_shop_id, run
from core.error_messages import first_line
from core.settings import TASK_QUEUE
from holds.audit_findings import finding_of_lost_sale, finding_of_missing, finding_of_orphaned, findings_of_drift
from holds.audit_stock import StockAuditor
from holds.audit_workflows import WorkflowAuditor
from holds.lost_sales import LostSales
from inventory.archive import archived_by_status
from workflows.findings import Finding, not_checked

_EVER = datetime.min.replace(tzinfo=UTC)
_TIME = "%Y-%m-%dT%H:%M:%SZ"


def audit_command(
    *,
    repair: Annotated[
        bool, typer.Option("--repair", help="Repair counts, and end workflows whose hold has no row.")
    ] = False,
    shop: Annotated[str | None, typer.Option(help="Check this shop only.")] = None,
    restored_to: Annotated[
        datetime | None,
        typer.Option(formats=[_TIME], help="The database was restored to this time (UTC): find the sales since then."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare every item with its holds and movements, and every active hold with its workflow.

    A hold whose workflow is missing is resumed in a new one; a workflow whose hold has ended is ended. After a
    restore, --restored-to finds the sales that Temporal remembers and the database does not contain; --repair commits
    them again if the stock is there.

    Exit code: 0 if nothing is wrong, or --repair repaired all of it; 1 if something is wrong; 2 if the audit failed.
    """
    if shop is not None:
        require_shop_id("audit", shop)
    since = restored_to.replace(tzinfo=UTC) if restored_to else None
    run("audit", _audit(repair=repair, shop=shop, since=since, as_json=as_json))


@dataclass
class _Result:
    """What was checked, and what was found."""

    items: int
    archived_holds: int = 0
    active_holds: int | None = None
    """None: unknown, because Temporal did not answer."""
    findings: list[Finding] = field(default_factory=list)


async def _audit(*, repair: bool, shop: str | None, since: datetime | None, as_json: bool) -> int:
    async with Connections("audit") as connections:
        result = await _check_stock(connections, shop, repair=repair)
        try:
            await _check_workflows(connections, shop, since, result, repair=repair)
        except (RPCError, RuntimeError) as error:
            result.findings.append(not_checked("workflows", f"Temporal: {first_line(error)}"))
        result.archived_holds = sum((await archived_by_status(connections.engine, since=_EVER, shop_id=shop)).values())
    if as_json:
        _print_json(result)
    else:
        _print(result)
    wrong = any(not finding.mended for finding in result.findings) if repair else bool(result.findings)
    return 1 if wrong else 0


async def _check_stock(connections: Connections, shop: str | None, *, repair: bool) -> _Result:
    auditor = StockAuditor(connections.engine)
    audit = await auditor.check(shop)
    result = _Result(audit.items)
    for drift in audit.drifts:
        found, outcome = await auditor.repair(drift) if repair else (drift, None)
        result.findings += findings_of_drift(found, outcome)
    return result


async def _check_workflows(
    connections: Connections, shop: str | None, since: datetime | None, result: _Result, *, repair: bool
) -> None:
    auditor = WorkflowAuditor(connections.engine, connections.temporal, connections.settings, task_queue=TASK_QUEUE)
    audit = await auditor.check(shop)
    result.active_holds = audit.active_holds
    result.findings += map(finding_of_missing, audit.missing)
    for orphaned in audit.orphaned:
        wanted = repair and orphaned.repair is None
        result.findings.append(finding_of_orphaned(orphaned, await auditor.end(orphaned) if wanted else None))
    if since is None:
        return
    lost_sales = LostSales(connections.engine, connections.temporal, task_queue=TASK_QUEUE)
    for sale in await lost_sales.find(since, shop):  # last: if it fails, the findings above are kept
        result.findings.append(finding_of_lost_sale(sale, await lost_sales.commit_again(sale) if repair else None))


def _print_json(result: _Result) -> None:
    print(
        json.dumps(
            {
                "items": result.items,
                "activeHolds": result.active_holds,
                "archivedHolds": result.archived_holds,
                "findings": [asdict(finding) for finding in result.findings],
            }
        )
    )


def _print(result: _Result) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for finding in result.findings:
        console.print(f"{finding.kind:<9}  {finding.sentence}", markup=False)
    holds = "unknown number of" if result.active_holds is None else result.active_holds
    repaired = sum(finding.mended for finding in result.findings)
    outcome = f"{len(result.findings)} findings, {repaired} repaired" if result.findings else "nothing is wrong"
    archived = f" {result.archived_holds} archived holds, which are not checked." if result.archived_holds else ""
    console.print(f"{result.items} items, {holds} active holds: {outcome}.{archived}", markup=False)
