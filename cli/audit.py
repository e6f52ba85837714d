"""`holdfast audit`: look at once, say of every finding what it is, and with `--repair` set right what can be."""

import json
import re
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from temporalio.service import RPCError

from cli.target import Target, fail, finish, settings
from core.settings import TASK_QUEUE
from holds.audit_stock import StockAuditor
from holds.audit_text import of_drift, of_lost_run, of_lost_sale, of_stray_run, repaired
from holds.audit_workflows import LostSale, RunAuditor, StrayRun
from inventory.archive import archived_by_status
from inventory.audit import Drift
from workflows.findings import Finding

_EVER = datetime.min.replace(tzinfo=UTC)
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_SHOP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def audit_command(
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Set right what can be: counts, and runs astray.")] = False,
    shop: Annotated[str | None, typer.Option(help="Look at this shop only.")] = None,
    restored_to: Annotated[
        datetime | None,
        typer.Option(formats=[_TIME], help="The database was restored to this moment, UTC: find what was sold since."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare every item with its holds and movements, and every active hold with its workflow.

    A hold whose workflow was lost gets a new one, which ends it. After a restore, --restored-to looks through what
    Temporal remembers as sold since, and --repair sells it again where the stock is there.

    Exit code: 0 when nothing is wrong, or all of it was set right by --repair; 1 when something is wrong; 2 when it
    could not be looked at.
    """
    if shop is not None and not _SHOP.fullmatch(shop):
        fail("audit", f"{shop!r} is not the name of a shop")
    since = restored_to.replace(tzinfo=UTC) if restored_to else None
    finish("audit", _audit(repair=repair, shop=shop, since=since, as_json=as_json))


async def _audit(*, repair: bool, shop: str | None, since: datetime | None, as_json: bool) -> int:
    async with Target(settings()) as target:
        stock = StockAuditor(target.engine)
        runs = RunAuditor(target.engine, target.temporal, target.settings, task_queue=TASK_QUEUE)
        items, drifts = await stock.look(shop)
        findings = [finding for drift in drifts for finding in await _of_item(stock, drift, repair=repair)]
        holds: int | None = None
        try:
            holds, lost, stray = await runs.look(shop)
            sales = await runs.lost_sales(since, shop) if since else []
        except (RPCError, RuntimeError):
            sentence = "Temporal is out of reach: whether every active hold has its workflow is not known."
            findings.append(Finding("unknown", "", "the workflows", sentence))
        else:
            findings += map(of_lost_run, lost)
            findings += [await _of_run(runs, each, repair=repair) for each in stray]
            findings += [await _of_sale(runs, sale, repair=repair) for sale in sales]
        archived = sum((await archived_by_status(target.engine, since=_EVER, shop_id=shop)).values())
    wrong = any(not finding.mended for finding in findings) if repair else bool(findings)
    _print(items, holds, archived, findings, as_json=as_json)
    return 1 if wrong else 0


async def _of_item(auditor: StockAuditor, drift: Drift, *, repair: bool) -> list[Finding]:
    if not repair:
        return list(of_drift(drift))
    found, problem = await auditor.repair(drift)
    if problem is not None:
        return [Finding(f.kind, f.shop_id, f.subject, f"{f.sentence} ({problem})") for f in of_drift(found)]
    now = f"Repaired: held {found.active}, sellable {(found.on_hand or 0) - found.active}."
    return [repaired(finding, now) for finding in of_drift(found)]


async def _of_run(auditor: RunAuditor, stray: StrayRun, *, repair: bool) -> Finding:
    finding = of_stray_run(stray)
    if not repair:
        return finding
    return _told(finding, await auditor.end(stray), "It was told to end.")


async def _of_sale(auditor: RunAuditor, sale: LostSale, *, repair: bool) -> Finding:
    finding = of_lost_sale(sale)
    if not repair:
        return finding
    return _told(
        finding, await auditor.sell_again(sale), "A run was started that sells it again, if the stock is there."
    )


def _told(finding: Finding, problem: str | None, said: str) -> Finding:
    if problem is not None:
        return replace(finding, sentence=f"{finding.sentence} (not done: {problem})")
    return repaired(finding, said)


def _print(items: int, holds: int | None, archived: int, findings: list[Finding], *, as_json: bool) -> None:
    if as_json:
        print(
            json.dumps(
                {
                    "items": items,
                    "activeHolds": holds,
                    "archivedHolds": archived,
                    "findings": [asdict(f) for f in findings],
                }
            )
        )
        return
    console = Console(highlight=False, soft_wrap=True)
    for finding in findings:
        console.print(f"{finding.kind:<9}  {finding.sentence}", markup=False)
    looked_at = f"{items} items, {'?' if holds is None else holds} active holds"
    mended = sum(finding.mended for finding in findings)
    told = f"{len(findings)} findings, {mended} of them set right" if findings else "nothing is wrong"
    kept = f" {archived} ended holds are in the archive; nothing of them is in the counts." if archived else ""
    console.print(f"{looked_at}: {told}.{kept}", markup=False)
