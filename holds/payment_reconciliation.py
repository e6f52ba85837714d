"""Finds payments of which no event arrived: compares Stripe's list with holds, and hands over what nobody knows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.holds import HoldKey
from domain.payments import Payment
from holds.payments_service import PaymentsService
from holds.workflow_client import WorkflowClient
from inventory.payment_owners import Ownership, owners_of
from payments.accounts import PaymentAccounts
from payments.client import PaymentClient
from payments.errors import StripeRefusedError
from payments.events import StripeEvent, hold_in_metadata
from payments.status import PaymentState, PaymentStatus
from workflows.payment_messages import LatePayment
from workflows.payment_reconciliation import WINDOW, ReconcileWindow, UnheardKind, UnheardPayment

_LEFT_TO_EVENTS = timedelta(minutes=10)
"""A payment that was made since then is left to its event, which may still be on its way."""
_AFTER_GRACE = timedelta(days=7)
_SESSIONS = "sessions"
"""The position before the first page of an account's sessions, which come after its PaymentIntents."""
_OF_SESSION = "cs_"

_KINDS: dict[Ownership, UnheardKind] = {"active": "active", "late": "late", "missing": "unknown_hold"}


@dataclass(frozen=True, slots=True)
class ReconciledPage:
    """What was found on a page of Stripe's list."""

    looked_at: int
    found: Sequence[UnheardPayment]
    next_after: str | None
    """The position after which the next page begins; None: this was the last."""
    unread: int = 0
    """1 if Stripe refused to list the payments of this account, which is then left out."""


def lookback(graces: Mapping[str, int]) -> timedelta:
    """Return how old a payment may be that is looked at, by creation: older than the longest configured grace."""
    return max([WINDOW, *(timedelta(seconds=seconds) + _AFTER_GRACE for seconds in graces.values())])


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

    async def page(
        self, window: ReconcileWindow, *, dry_run: bool = False, last_run: datetime | None = None
    ) -> ReconciledPage:
        """Look at a page. A payment that nobody knows is delivered as its event would have been, unless `dry_run`.

        `last_run`: when the run before looked. A `wrong_account` of which it has told is left out: nothing is done for
        such a payment, so that every run would find it.

        Raises StripeUnavailableError, StripeRefusedError, DatabaseBusyError, DatabaseUnavailableError and as
        PaymentsService.deliver.
        """
        number, _, after = (window.after or "0:").partition(":")
        clients = self._accounts.each
        if int(number) >= len(clients):
            return ReconciledPage(0, (), None)
        stripe = clients[int(number)]
        of_sessions = after.startswith((_SESSIONS, _OF_SESSION))
        listed = stripe.list_completed_sessions if of_sessions else stripe.list_intents
        try:
            page = await listed(
                since=window.since,
                until=window.until,
                after=None if after in ("", _SESSIONS) else after,
                limit=self._page_size,
            )
        except StripeRefusedError as error:
            if len(clients) == 1:
                raise
            # An account that has left the platform, or an account of another configuration, must not hide the others.
            structlog.get_logger("holdfast").error(
                "the payments of a Stripe account cannot be read", account=stripe.place, problem=str(error)
            )
            return ReconciledPage(0, (), self._next_account(int(number)), unread=1)
        wrong_made_in = (
            None if last_run is None else (last_run - self._left_to_events, window.until - self._left_to_events)
        )
        found = await self._look_at(page.payments, stripe, wrong_made_in, dry_run=dry_run)
        if page.next_after is None:
            position = self._next_account(int(number)) if of_sessions else f"{number}:{_SESSIONS}"
        else:
            position = f"{number}:{page.next_after}"
        return ReconciledPage(len(page.payments), found, position)

    def _next_account(self, number: int) -> str | None:
        return f"{number + 1}:" if number + 1 < len(self._accounts.each) else None

    async def _look_at(
        self,
        payments: Sequence[PaymentStatus],
        stripe: PaymentClient,
        wrong_made_in: tuple[datetime, datetime] | None,
        *,
        dry_run: bool,
    ) -> Sequence[UnheardPayment]:
        before = datetime.now(UTC) - self._left_to_events
        made = {_payment(each): each for each in payments if _is_made(each, before) and not _is_named_by_intent(each)}
        named = {payment: hold_in_metadata(status.metadata or {}) for payment, status in made.items()}
        owners = await owners_of(self._engine, named) if named else {}
        found = list[UnheardPayment]()
        for payment, status in made.items():
            self._progress()
            owner = owners[payment.id]
            if owner.key is None or owner.ownership not in _KINDS:
                continue
            kind: UnheardKind | None = None
            if self._accounts.has_payments_of(owner.key.shop_id, stripe):
                kind = await self._unheard(payment, owner.ownership, owner.key, status, dry_run=dry_run)
            elif _is_within(status, wrong_made_in) and await self._is_wrong(payment, owner.key):
                kind = "wrong_account"
            if kind is not None:
                found.append(UnheardPayment(kind, payment.id, *owner.key))
        return found

    async def _is_wrong(self, payment: Payment, key: HoldKey) -> bool:
        """Return whether the payment in another account has no case, and is not in the hold's shop's account too.

        The keys of two shops may belong to one account, of which each then lists the payments of both.
        """
        if await self._workflows.has_late_payment(payment.id):
            return False
        try:
            own = await self._accounts.check(key.shop_id, payment)
        except StripeRefusedError:  # that account is reported by itself
            return True
        return own is None or own.state is PaymentState.UNKNOWN

    async def _unheard(
        self, payment: Payment, ownership: Ownership, key: HoldKey, status: PaymentStatus, *, dry_run: bool
    ) -> UnheardKind | None:
        """Return what was found about a payment, and hand it over; None where it has its case."""
        if await self._workflows.has_late_payment(payment.id):
            return None
        if dry_run:
            return _KINDS[ownership]
        if ownership == "missing":
            return await self._open_case(key, payment)
        return await self._deliver(key, payment, status)

    async def _deliver(self, key: HoldKey, payment: Payment, status: PaymentStatus) -> UnheardKind | None:
        event = StripeEvent(
            event_id=f"reconciled:{payment.id}",
            type="payment_intent.succeeded",
            kind="authorized" if status.state is PaymentState.AUTHORIZED else "succeeded",
            hold=key,
            session_id=payment.session_id,
            intent_id=payment.payment_intent_id,
            object_id=payment.id,
            recovered_from=payment.recovered_from,
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
                return await self._open_case(key, payment)
            case _:
                return None  # its hold was sold to it meanwhile, or it was refunded

    async def _open_case(self, key: HoldKey, payment: Payment) -> UnheardKind:
        await self._workflows.start_late_payment(LatePayment(*key, payment))
        return "unknown_hold"


def _payment(status: PaymentStatus) -> Payment:
    return Payment(status.intent_id, status.session_id, recovered_from=status.recovered_from)


def _is_named_by_intent(status: PaymentStatus) -> bool:
    """Return whether it is a session whose PaymentIntent names the hold, by which it is found."""
    return hold_in_metadata(status.intent_metadata or {}) is not None


def _is_made(status: PaymentStatus, before: datetime) -> bool:
    made_at = _made_at(status)
    return status.state in (PaymentState.PAID, PaymentState.AUTHORIZED) and (made_at is None or made_at < before)


def _is_within(status: PaymentStatus, times: tuple[datetime, datetime] | None) -> bool:
    made_at = _made_at(status)
    return times is None or (made_at is not None and times[0] <= made_at < times[1])


def _made_at(status: PaymentStatus) -> datetime | None:
    """Return when the payment was made, or else the latest time at which it can have been.

    Stripe does not tell when a session without a charge was completed: before its page expired, a day after it was
    opened at the latest.
    """
    return status.charged_at or status.expires_at
