"""Makes findings, with their sentences, from what the audits return."""

from datetime import UTC, datetime

from holds.audit_model import LostSale, MissingWorkflow, Repair, StrayWorkflow
from inventory.audit import Drift
from workflows.findings import Finding, FindingKind, Value
from workflows.messages import hold_workflow_id


def findings_of_drift(drift: Drift, repair: Repair | None = None) -> list[Finding]:
    """Return what is wrong with the item. `repair` is None if none was tried.

    Details: `active` (units of active holds) and, unless there is no item, `quantity`, `held` and
    `last_movement_on_hand` (None if there is no movement).
    """
    shop, subject = drift.key[0], " ".join(drift.key[1:]).strip()
    name = f"{shop} {subject}"
    details: dict[str, Value] = {"active": drift.active}
    if drift.held is not None:
        details |= {"quantity": drift.quantity, "held": drift.held, "last_movement_on_hand": drift.last_on_hand}
    statements: dict[FindingKind, str] = {}
    if drift.held is None:
        statements["no_item"] = f"active holds have {_units(drift.active)} of it, but there is no such item."
    else:
        if drift.held_differs:
            statements["held"] = f"{_units(drift.held)} held, but its active holds have {drift.active}."
        if drift.balance_differs:
            on_hand = (drift.quantity or 0) + drift.held
            left = (
                "it has no movement" if drift.last_on_hand is None else f"its last movement left {drift.last_on_hand}"
            )
            statements["balance"] = (
                f"{_units(on_hand)} on hand (available {drift.quantity}, held {drift.held}), but {left}."
            )
    if drift.repairable:
        done, needed = f"Repaired: held {drift.active}, available {(drift.last_on_hand or 0) - drift.active}.", None
    elif repair == Repair():
        done, needed = "Corrected by a concurrent change.", None
    else:
        done, needed = "", f"Not repairable automatically: {_what_to_do(drift)}."
    return [
        _finding(kind, shop, subject, f"{name}: {statement}", details, done=done, by_person=needed, repair=repair)
        for kind, statement in statements.items()
    ]


def finding_of_missing(missing: MissingWorkflow) -> Finding:
    """Return that an active hold has no workflow. Details: `expires_at`, `ended_before`."""
    hold = missing.hold
    details: dict[str, Value] = {"expires_at": _iso(hold.expires_at), "ended_before": missing.ended_before}
    if missing.ended_before is None:
        statement = f"active until {_time(hold.expires_at)}, but its workflow is missing."
        done = "Resumed by a new run, which closes the payment, if there is one, and ends the hold at its deadline."
    else:
        statement = f"active, but its last workflow run ended it as {missing.ended_before}."
        done = "Resumed by a new run, which ends it so again."
    sentence = f"{hold.shop_id} hold {hold.hold_id}: {statement}"
    return _finding("lost_run", hold.shop_id, hold.hold_id, sentence, details, done=done, repair=missing.repair)


def finding_of_orphaned(orphaned: StrayWorkflow, repair: Repair | None = None) -> Finding:
    """Return that a workflow runs without an active hold. Details: `status` (of the hold; None: no row).

    `repair`: the outcome of what a person asked for, where the audit itself has tried none.
    """
    shop, hold = orphaned.shop_id, orphaned.hold_id
    state = f"{orphaned.status} in the database" if orphaned.status else "not in the database"
    sentence = f"{shop} hold {hold}: {state}, but its workflow {hold_workflow_id(shop, hold)} runs."
    details: dict[str, Value] = {"status": orphaned.status}
    return _finding(
        "stray_run",
        shop,
        hold,
        sentence,
        details,
        done="The workflow was asked to end.",
        repair=orphaned.repair or repair,
    )


def finding_of_lost_sale(sale: LostSale, repair: Repair | None = None) -> Finding:
    """Return that the database lacks a sale, so its stock could be sold again. Details: `committed_at`."""
    sentence = f"{sale.shop_id} hold {sale.hold_id}: committed at {_time(sale.committed_at)}, but not in the database."
    done = "A new run was started, which commits it again if the stock is there."
    details: dict[str, Value] = {"committed_at": _iso(sale.committed_at)}
    return _finding("lost_sale", sale.shop_id, sale.hold_id, sentence, details, done=done, repair=repair)


def _finding(
    kind: FindingKind,
    shop_id: str,
    subject: str,
    statement: str,
    details: dict[str, Value],
    *,
    done: str,
    by_person: str | None = None,
    repair: Repair | None = None,
) -> Finding:
    """`done`: what a successful repair did. `by_person`: what a person has to do where no repair is possible."""
    if by_person is not None:
        consequence = by_person
    elif repair is None:
        consequence = "`holdfast audit --repair` repairs it."
    elif repair.problem is None:
        consequence = done
    else:
        consequence = f"Not repaired: {repair.problem}"
    repairable = by_person is None
    return Finding(
        kind,
        shop_id,
        subject,
        f"{statement} {consequence}",
        mended=repairable and repair is not None and repair.problem is None,
        repairable=repairable,
        problem=repair.problem if repair else None,
        details=details,
    )


def _what_to_do(drift: Drift) -> str:
    if drift.held is None:
        return "set the item's count"
    if drift.last_on_hand is None:
        return "without a movement its count is not known; count the item and set it"
    return (
        f"active holds have {drift.active}, but the last movement left only {drift.last_on_hand};"
        " release holds, or count the item and set it"
    )


def _units(count: int) -> str:
    return f"{count} unit" if count == 1 else f"{count} units"


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _iso(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
