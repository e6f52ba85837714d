"""What an audit found, in sentences: what is wrong, and who sets it right."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from holds.audit_workflows import LostRun, LostSale, StrayRun
from inventory.audit import Drift
from workflows.findings import Finding
from workflows.messages import hold_workflow_id


def of_drift(drift: Drift) -> Iterator[Finding]:
    """Say what is wrong with the item."""
    shop, subject = drift.key[0], " ".join(drift.key[1:]).strip()
    name = f"{shop} {subject}"
    if drift.held is None:
        yield Finding(
            "no_item",
            shop,
            subject,
            f"{name}: active holds have {_units(drift.active)} of it, but there is no such item; set its count.",
        )
        return
    advice = (
        " `holdfast audit --repair` sets it right." if drift.repairable else f" It needs a person: {why_not(drift)}."
    )
    if drift.held_differs:
        yield Finding(
            "held",
            shop,
            subject,
            f"{name}: {_units(drift.held)} held, but its active holds have {drift.active}.{advice}",
        )
    if drift.balance_differs:
        left = "it has no movement" if drift.on_hand is None else f"its last movement left {drift.on_hand}"
        on_hand = (drift.quantity or 0) + drift.held
        yield Finding(
            "balance",
            shop,
            subject,
            f"{name}: {_units(on_hand)} on hand (sellable {drift.quantity}, held {drift.held}), but {left}.{advice}",
        )


def of_lost_run(lost: LostRun) -> Finding:
    """Say that nobody would have ended the hold, and what has been done."""
    hold = lost.hold
    if lost.ended_before is None:
        due = f"its deadline is {_time(hold.expires_at)}"
        head = f"{hold.shop_id} hold {hold.hold_id}: active, {due}, but no workflow ran for it."
        does = "closes the payment, if there is one, and ends the hold at its deadline"
    else:
        head = f"{hold.shop_id} hold {hold.hold_id}: active, but its workflow had ended it as {lost.ended_before}."
        does = "ends it so again"
    if lost.problem is not None:
        told = f"{head} A new run could not be started: {lost.problem}."
        return Finding("lost_run", hold.shop_id, hold.hold_id, told)
    return Finding("lost_run", hold.shop_id, hold.hold_id, f"{head} A new run was started: it {does}.", mended=True)


def of_stray_run(stray: StrayRun) -> Finding:
    """Say that a workflow waits for a hold that is not active."""
    what = f"{stray.status} in the database, but" if stray.status else "it has no row in the database, and"
    sentence = (
        f"{stray.shop_id} hold {stray.hold_id}: {what} its workflow"
        f" {hold_workflow_id(stray.shop_id, stray.hold_id)} still runs. `holdfast audit --repair` ends it."
    )
    return Finding("stray_run", stray.shop_id, stray.hold_id, sentence)


def of_lost_sale(sale: LostSale) -> Finding:
    """Say that the stock of a sale would be sold a second time."""
    sentence = (
        f"{sale.shop_id} hold {sale.hold_id}: sold at {_time(sale.sold_at)}, and the database knows nothing of it."
        " `holdfast audit --repair` sells it again."
    )
    return Finding("lost_sale", sale.shop_id, sale.hold_id, sentence)


def repaired(finding: Finding, said: str) -> Finding:
    """Return the finding as set right, with what was done."""
    return replace(finding, sentence=f"{finding.sentence.partition(' `holdfast audit')[0]} {said}", mended=True)


def why_not(drift: Drift) -> str:
    """Return why nobody but a person can tell what the item has."""
    if drift.held is None:
        return "there is no such item"
    if drift.on_hand is None:
        return "without a movement nobody can tell how many there are; set its count"
    return f"active holds have {drift.active}, and the last movement left only {drift.on_hand}; release holds or count"


def _units(count: int) -> str:
    return f"{count} unit" if count == 1 else f"{count} units"


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
