"""`holdfast payments`: find payments of which no event arrived."""

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.connections import Connections, fail, run
from cli.holds import JsonOption
from core.settings import TASK_QUEUE
from holds.errors import PaymentProviderUnavailableError, PaymentsNotConfiguredError
from holds.payment_reconciliation import PaymentReconciler, lookback
from holds.payments_service import PaymentsService
from holds.service import HoldService
from holds.workflow_client import WorkflowClient
from payments.accounts import PaymentAccounts, open_accounts
from payments.errors import StripeRefusedError, StripeUnavailableError
from workflows.payment_reconciliation import WINDOW, ReconcileWindow, UnheardPayment

_COMMAND = "payments reconcile"
_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"]
_SENTENCES = {
    "active": "is paid and its hold was still active",
    "late": "is paid and its hold had ended",
    "unknown_hold": "is paid and names a hold that the shop does not have",
    "wrong_account": "is paid in a Stripe account that is not the shop's",
}
_DONE = {
    "active": "the hold was told",
    "late": "a case was opened",
    "unknown_hold": "a case was opened",
    "wrong_account": "nothing was done; compare STRIPE_SHOPS",
}


def reconcile_command(
    *,
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=_TIMES,
            help="Payments begun at this time (UTC) or later. Default: 30 days ago, or by PAYMENT_GRACE_SECONDS.",
        ),
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=_TIMES, help="Payments begun before this time (UTC). Default: now.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare Stripe's payments with holds, and hand over those of which no event arrived, as their event would have.

    Exit code: 0 if each payment has its hold or a case, also if it has it only now; 1 with --dry-run if one has not,
    and if one is in another shop's account; 2 if the command could not be run, or Stripe did not answer for an account.
    """
    now = datetime.now(UTC)
    begin, end = _utc(since), _utc(until) or now
    if (begin or now - WINDOW) >= end:
        fail(_COMMAND, "--since must be before --until, and not in the future")
    run(_COMMAND, _reconcile(begin, end, dry_run=dry_run, as_json=as_json))


def _utc(time: datetime | None) -> datetime | None:
    return None if time is None else time.replace(tzinfo=UTC)


async def _reconcile(since: datetime | None, until: datetime, *, dry_run: bool, as_json: bool) -> int:
    async with Connections(_COMMAND) as connections, open_accounts(connections.settings) as accounts:
        if not accounts.each:
            raise PaymentsNotConfiguredError
        begin = since or until - lookback(connections.settings.payment_graces)
        window = ReconcileWindow(begin, until)
        looked_at, found, unread = await _all_pages(_reconciler(connections, accounts), window, dry_run=dry_run)
    if as_json:
        print(
            json.dumps(
                {"lookedAt": looked_at, "dryRun": dry_run, "unreadAccounts": unread, "found": [*map(_as_json, found)]}
            )
        )
    else:
        for each in found:
            outcome = "" if dry_run else f": {_DONE[each.kind]}"
            print(f"{each.payment_intent_id} of {each.shop_id} {each.hold_id} {_SENTENCES[each.kind]}{outcome}.")
        print(f"{looked_at} payments: {f'{len(found)} unheard of' if found else 'each payment is accounted for'}.")
    if unread:
        fail(_COMMAND, f"Stripe refused to list the payments of {unread} accounts; `holdfast doctor` names them")
    return 1 if found and (dry_run or any(each.kind == "wrong_account" for each in found)) else 0


async def _all_pages(
    reconciler: PaymentReconciler, window: ReconcileWindow, *, dry_run: bool
) -> tuple[int, list[UnheardPayment], int]:
    looked_at, found, unread = 0, list[UnheardPayment](), 0
    while True:
        try:
            page = await reconciler.page(window, dry_run=dry_run)
        except (StripeUnavailableError, StripeRefusedError) as error:
            raise PaymentProviderUnavailableError(f"Stripe: {error}") from error
        looked_at, unread = looked_at + page.looked_at, unread + page.unread
        found += page.found
        if page.next_after is None:
            return looked_at, found, unread
        window = replace(window, after=page.next_after)


def _reconciler(connections: Connections, accounts: PaymentAccounts) -> PaymentReconciler:
    workflows = WorkflowClient(connections.temporal, TASK_QUEUE)
    holds = HoldService(connections.engine, workflows, connections.settings)
    payments = PaymentsService(connections.engine, holds, workflows, connections.settings, accounts)
    return PaymentReconciler(connections.engine, payments, workflows, accounts)


def _as_json(found: UnheardPayment) -> dict[str, str]:
    names = {"payment_intent_id": "paymentIntentId", "shop_id": "shopId", "hold_id": "holdId", "kind": "kind"}
    return {names[name]: value for name, value in asdict(found).items()}
