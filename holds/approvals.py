"""Decides whether the payment of a hold may be confirmed. The decision changes nothing, so it may be repeated."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncEngine

from core.settings import Settings
from domain.holds import Hold, HoldStatus
from domain.payments import Payment
from holds.request_timeout import name_hold_on_span, run_for_caller
from inventory.hold_payments import find_hold
from inventory.holds import read_hold
from payments.approvals import ApprovalRequest

_ANSWER_MS = 2000
"""Stripe waits four seconds, its connection included, and then declines."""


class ApprovalResult(StrEnum):
    """The decision and its reason, as the metric's label has them."""

    APPROVED = "approved"
    ENDED = "ended"
    ENDS_SOON = "ends_soon"
    SOLD = "sold"
    """The hold was committed, not by this payment."""
    REPLACED = "replaced"
    """The hold has another payment."""
    UNKNOWN_HOLD = "unknown_hold"
    WRONG_MODE = "wrong_mode"
    WRONG_ACCOUNT = "wrong_account"
    """It is an order of another shop's Stripe account."""


_FOR_SHOPPER = {
    ApprovalResult.ENDED: "The time to pay is over and the items are no longer reserved. Nothing was charged.",
    ApprovalResult.ENDS_SOON: "Too little time is left to pay for the reserved items. Nothing was charged.",
    ApprovalResult.SOLD: "This order is complete already. Nothing was charged again.",
    ApprovalResult.REPLACED: "This checkout was replaced by a newer one. Nothing was charged.",
    ApprovalResult.UNKNOWN_HOLD: "No items are reserved for this order. Nothing was charged.",
    ApprovalResult.WRONG_MODE: "This order cannot be checked. Nothing was charged.",
    ApprovalResult.WRONG_ACCOUNT: "This order cannot be checked. Nothing was charged.",
}


@dataclass(frozen=True, slots=True)
class Approval:
    """The answer to a request for approval."""

    result: ApprovalResult
    hold: Hold | None = None

    @property
    def reason(self) -> str | None:
        """A sentence for the shopper; None if the payment is approved."""
        return _FOR_SHOPPER.get(self.result)


class ApprovalService:
    """Approves the payment of an active hold that lives long enough for it to finish."""

    def __init__(self, engine: AsyncEngine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings

    async def decide(self, request: ApprovalRequest) -> Approval:
        """Decide by the hold's row. Raises RequestTimeoutError and UnavailableError: nothing is approved unchecked."""
        if self._settings.stripe_live_mode not in (None, request.livemode):
            return Approval(ApprovalResult.WRONG_MODE)
        hold = await run_for_caller(min(_ANSWER_MS, self._settings.request_timeout_ms), self._hold_of(request))
        if hold is None:
            return Approval(ApprovalResult.UNKNOWN_HOLD)
        name_hold_on_span(hold.key)
        if self._is_of_another_shop(request.account, hold.shop_id):
            return Approval(ApprovalResult.WRONG_ACCOUNT, hold)
        return Approval(self._result(hold, Payment(request.intent_id, request.session_id)), hold)

    async def _hold_of(self, request: ApprovalRequest) -> Hold | None:
        if request.hold is not None:
            return await read_hold(self._engine, *request.hold)
        if request.session_id is None and request.intent_id is None:
            return None
        return await find_hold(self._engine, session_id=request.session_id, intent_id=request.intent_id)

    def _is_of_another_shop(self, account_id: str | None, shop_id: str) -> bool:
        """Return whether the account is another shop's. An account of no shop may be the platform's own."""
        if account_id is None:
            return False
        accounts = self._settings.shop_accounts
        shops = {
            each for each, account in accounts.items() if account_id in (account.account, *account.former_accounts)
        }
        return bool(shops) and shop_id not in shops

    def _result(self, hold: Hold, payment: Payment) -> ApprovalResult:
        if hold.status is HoldStatus.COMMITTED:  # a repeat for the payment that bought it is answered as before
            return ApprovalResult.APPROVED if payment.is_same(hold.payment) else ApprovalResult.SOLD
        if hold.status is not HoldStatus.ACTIVE:
            return ApprovalResult.ENDED
        if _is_another(payment, hold.payment):
            return ApprovalResult.REPLACED
        left = hold.expires_at - datetime.now(UTC)
        if left <= timedelta(0):
            return ApprovalResult.ENDED
        return (
            ApprovalResult.APPROVED
            if left >= timedelta(seconds=self._settings.approval_seconds)
            else ApprovalResult.ENDS_SOON
        )


def _is_another(asked: Payment, of_hold: Payment | None) -> bool:
    """Return whether the hold has another payment than this one. Where the request names none, nobody knows."""
    if of_hold is None or asked.is_same(of_hold):
        return False
    sessions = (asked.session_id, of_hold.session_id)
    intents = (asked.payment_intent_id, of_hold.payment_intent_id)
    return None not in sessions or None not in intents
