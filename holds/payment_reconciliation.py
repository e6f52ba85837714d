"""Finds payments of which no event arrived: compares Stripe's list with holds, and hands over what nobody knows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.holds import HoldKey
from domain.payments import Payment
from holds.payments_service import PaymentsService
from holds.workflow_client import WorkflowClient
from inventory.payment_owners import Owner, Ownership, owners_of
from payments.accounts import PaymentAccounts
from payments.errors import StripeRefusedError
from payments.events import StripeEvent, hold_in_metadata
from payments.status import PaymentState, PaymentStatus
from workflows.payment_messages import LatePayment
from workflows.payment_reconciliation import ReconcileWindow, UnheardKind, UnheardPayment

_LEFT_TO_EVENTS = timedelta(minutes=10)
"""A payment that was made since then is left to its event, which may still be on its way."""


_KINDS: dict[Ownership, UnheardKind] = {"active": "active", "late": "late", "missing": "unknown_hold"}


@dataclass(frozen=True, slots=True)
class ReconciledPage:
    """What was found on a page of Stripe's list."""

    looked_at: int
    found: Sequence[UnheardPayment]
    next_after: str | None
    """The position after which the next page begins; None: this was the last."""


class PaymentReconciler:
    """Looks at pages of Stripe's list. Each may be looked at again, also while events arrive: nothing is done twice."""

    def __init__(
        self,
        engine: AsyncEngine,
        payments: PaymentsService,
        workflows: WorkflowClient,
        accounts: PaymentAccounts,
        *,
        progress: Callable[[], None] = lambda: None,
        page_size: int = 100,
        left_to_events: timedelta = _LEFT_TO_EVENTS,
    ) -> None:
        self._engine = engine
        self._payments = payments
        self._workflows = workflows
        self._accounts = accounts
        self._progress = progress
        self._page_size = page_size
        self._left_to_events = left_to_events

    async def page(self, window: ReconcileWindow, *, dry_run: bool = False) -> ReconciledPage:
        """Look at a page. A payment that nobody knows is delivered as its event would have been, unless `dry_run`.

        Raises StripeUnavailableError, StripeRefusedError, DatabaseBusyError, DatabaseUnavailableError and as
        PaymentsService.deliver.
        """
        number, _, after = (window.after or "0:").partition(":")
        clients = self._accounts.each
        if int(number) >= len(clients):
            return ReconciledPage(0, (), None)
        stripe = clients[int(number)]
        try:
            page = await stripe.list_intents(
                since=window.since, until=window.until, after=after or None, limit=self._page_size
            )
        except StripeRefusedError as error:
            if len(clients) == 1:
                raise
            # An account that has left the platform, or an account of another configuration, must not hide the others.
            structlog.get_logger("holdfast").error(
                "the payments of a Stripe account cannot be read", account=int(number), problem=str(error)
            )
            return ReconciledPage(0, (), self._next(int(number), None))
        before = datetime.now(UTC) - self._left_to_events
        paid = {each.intent_id: each for each in page.intents if each.intent_id and _is_made(each, before)}
        named = {intent: hold_in_metadata(each.metadata or {}) for intent, each in paid.items()}
        owners = await owners_of(self._engine, named) if named else {}
        found = list[UnheardPayment]()
        for intent, owner in owners.items():
            self._progress()
            if owner.key is not None and not self._accounts.has_payments_of(owner.key.shop_id, stripe):
                continue
            kind = await self._unheard(intent, owner, paid[intent], dry_run=dry_run)
            if kind is not None and owner.key is not None:
                found.append(UnheardPayment(kind, intent, *owner.key))
        return ReconciledPage(len(page.intents), found, self._next(int(number), page.next_after))

    def _next(self, number: int, after: str | None) -> str | None:
        """Return the position of the next page: the account's number and Stripe's position in its list."""
        if after is not None:
            return f"{number}:{after}"
        return f"{number + 1}:" if number + 1 < len(self._accounts.each) else None

    async def _unheard(self, intent: str, owner: Owner, status: PaymentStatus, *, dry_run: bool) -> UnheardKind | None:
        """Return what was found about a payment, and hand it over; None where it has its hold or its case."""
        if owner.key is None or owner.ownership not in _KINDS:
            return None
        if await self._workflows.has_late_payment(intent):
            return None
        if dry_run:
            return _KINDS[owner.ownership]
        if owner.ownership == "missing":
            return await self._open_case(owner.key, intent)
        authorized = status.state is PaymentState.AUTHORIZED
        return await self._deliver(owner.key, intent, status, authorized=authorized)

    async def _deliver(
        self, key: HoldKey, intent: str, status: PaymentStatus, *, authorized: bool
    ) -> UnheardKind | None:
        event = StripeEvent(
            event_id=f"reconciled:{intent}",
            type="payment_intent.succeeded",
            kind="authorized" if authorized else "succeeded",
            hold=key,
            intent_id=intent,
            object_id=intent,
            livemode=self._payments.live_mode,
            amount_total=status.amount_total,
            currency=status.currency,
        )
        match (await self._payments.deliver(key, event)).result:
            case "told":
                return "active"
            case "late":
                return "late"
            case "unknown_hold":  # it was archived meanwhile
                return await self._open_case(key, intent)
            case _:
                return None  # its hold was sold to it meanwhile, or it was refunded

    async def _open_case(self, key: HoldKey, intent: str) -> UnheardKind:
        await self._workflows.start_late_payment(LatePayment(*key, Payment(intent)))
        return "unknown_hold"


def _is_made(status: PaymentStatus, before: datetime) -> bool:
    if status.state not in (PaymentState.PAID, PaymentState.AUTHORIZED):
        return False
    return status.charged_at is None or status.charged_at < before
