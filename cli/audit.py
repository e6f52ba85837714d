"""`holdfast audit`: look at once, say of every finding what it is, and with `--repair` set right what can be."""

import json
import re
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from temporalio.service import RPCError

from activities.audit import Auditor, of_drift, of_lost, of_stray, repaired
from cli.target import Target, fail, finish, settings
from inventory.audit import Drift, EndedHold
from inventory.settings import TASK_QUEUE
from workflows.findings import Finding

_SHOP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def audit_command(
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Set right what can be: counts, and runs astray.")] = False,
    shop: Annotated[str | None, typer.Option(help="Look at this shop only.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare every item with its holds and movements, and every active hold with its workflow.

    A hold whose workflow was lost gets a new one, which ends it. Exit code: 0 when nothing is wrong, or all of it was
    set right by --repair; 1 when something is wrong; 2 when it could not be looked at.
    """
    if shop is not None and not _SHOP.fullmatch(shop):
        fail("audit", f"{shop!r} is not the name of a shop")
    finish("audit", _audit(repair=repair, shop=shop, as_json=as_json))


async def _audit(*, repair: bool, shop: str | None, as_json: bool) -> int:
    async with Target(settings()) as target:
        auditor = Auditor(target.engine, target.temporal, target.settings, task_queue=TASK_QUEUE)
        items, drifts = await auditor.stock(shop)
        findings = [finding for drift in drifts for finding in await _of_item(auditor, drift, repair=repair)]
        holds: int | None = None
        try:
            holds, lost, stray = await auditor.runs(shop)
        except (RPCError, RuntimeError):
            sentence = "Temporal is out of reach: whether every active hold has its workflow is not known."
            findings.append(Finding("unknown", "", "the workflows", sentence))
        else:
            findings += map(of_lost, lost)
            findings += [await _of_run(auditor, ended, repair=repair) for ended in stray]
    wrong = any(not finding.mended for finding in findings) if repair else bool(findings)
    _print(items, holds, findings, as_json=as_json)
    return 1 if wrong else 0


async def _of_item(auditor: Auditor, drift: Drift, *, repair: bool) -> list[Finding]:
    if not repair:
        return list(of_drift(drift))
    found, problem = await auditor.repair(drift)
    if problem is not None:
        return [Finding(f.kind, f.shop_id, f.subject, f"{f.sentence} ({problem})") for f in of_drift(found)]
    now = f"Repaired: held {found.active}, sellable {(found.on_hand or 0) - found.active}."
    return [repaired(finding, now) for finding in of_drift(found)]


async def _of_run(auditor: Auditor, ended: EndedHold, *, repair: bool) -> Finding:
    finding = of_stray(ended)
    if not repair:
        return finding
    problem = await auditor.end(ended)
    if problem is not None:
        return Finding(finding.kind, finding.shop_id, finding.subject, f"{finding.sentence} (not ended: {problem})")
    return repaired(finding, "It was told to end.")


def _print(items: int, holds: int | None, findings: list[Finding], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"items": items, "activeHolds": holds, "findings": [asdict(f) for f in findings]}))
        return
    console = Console(highlight=False, soft_wrap=True)
    for finding in findings:
        console.print(f"{finding.kind:<9}  {finding.sentence}", markup=False)
    looked_at = f"{items} items, {'?' if holds is None else holds} active holds"
    mended = sum(finding.mended for finding in findings)
    told = f"{len(findings)} findings, {mended} of them set right" if findings else "nothing is wrong"
    console.print(f"{looked_at}: {told}.", markup=False)
