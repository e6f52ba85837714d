"""Sells a hold; one with an attached payment only if Stripe calls that made, or the shop was paid elsewhere."""

from dataclasses import replace
from functools import partial

from core.settings import Settings
from core.timeouts import run_with_timeout
from domain.holds import Hold, HoldKey, HoldStatus
from domain.payments import Payment
from holds.errors import (
    HoldNotActiveError,
    PaymentNotMadeError,
    PaymentProviderUnavailableError,
    PaymentsNotConfiguredError,
)
from holds.hold_reader import require_lines
from holds.request_timeout import remaining_ms, run_for_caller
from holds.service import HoldService, require_status
from holds.temporal_errors import UpdateRefusedError
from holds.workflow_client import WorkflowClient
from payments.accounts import PaymentAccounts
from payments.errors import StripeRefusedError, StripeUnavailableError
from payments.status import PaymentState, PaymentStatus
from workflows.hold import HoldWorkflow
from workflows.messages import PAYMENT_NOT_MADE, Commit

_UNKNOWN = "Stripe does not tell whether the attached payment was made; nothing was changed."


class CommitService:
    """Commits of holds, whoever asks. Expected failures are raised as `holds.errors`."""

    def __init__(
        self, holds: HoldService, workflows: WorkflowClient, settings: Settings, accounts: PaymentAccounts
    ) -> None:
        self._holds = holds
        self._workflows = workflows
        self._settings = settings
        self._accounts = accounts

    async def commit(self, key: HoldKey, message: Commit) -> Hold:
        """Commit the hold and return it.

        Raises HoldNotFoundError, HoldNotActiveError (it ended otherwise, or other units were sold), NotInHoldError (it
        has fewer units than `items`), and as HoldService.create for time-outs. Unless the message says that it was paid
        elsewhere, of a hold with a payment that its workflow does not know to be made: PaymentNotMadeError,
        PaymentProviderUnavailableError and PaymentsNotConfiguredError; nothing was changed then.
        """
        return await run_for_caller(self._settings.request_timeout_ms, self._commit(key, message), key)

    async def _commit(self, key: HoldKey, message: Commit) -> Hold:
        if message.items is not None:
            require_lines(await self._holds.row(key), message.items)
        hold = await self._sell(key, replace(message, asks=True))
        require_status(hold, {HoldStatus.COMMITTED})
        if not hold.sold_exactly(message.items):
            sold = "all of its units" if hold.sold is None else "other units"
            raise HoldNotActiveError(key, hold.status, f"The hold is committed already: it sold {sold}.")
        return hold

    async def _sell(self, key: HoldKey, message: Commit) -> Hold:
        """Send the commit. The workflow refuses it where Stripe has to be asked first, so that no other hold waits."""
        try:
            return await self._send(key, message)
        except UpdateRefusedError as refusal:
            _require_kind(refusal)
        sure = await self._with_payment(key, message)
        try:
            return await self._send(key, sure)
        except UpdateRefusedError as refusal:  # a payment was attached since
            _require_kind(refusal)
            raise PaymentNotMadeError(await self._holds.row(key)) from refusal

    async def _send(self, key: HoldKey, message: Commit) -> Hold:
        return await self._holds.end(
            key,
            self._workflows.commit,
            HoldWorkflow.record_commit,
            message,
            for_signal=partial(self._with_payment, key),  # nothing refuses a signal
        )

    async def _with_payment(self, key: HoldKey, message: Commit) -> Commit:
        """Return the message with the hold's payment if it is made. Raises PaymentNotMadeError if it is not.

        What is made stays made, so the webhook may arrive meanwhile; what is refused here is sold by it.
        """
        if message.paid_elsewhere or message.payment is not None:
            return message
        hold = await self._holds.row(key)
        if hold.status is not HoldStatus.ACTIVE or hold.payment is None:
            return message
        return replace(message, payment=await self._made(hold, hold.payment))

    async def _made(self, hold: Hold, payment: Payment) -> Payment:
        check = self._check(hold.shop_id, payment)
        try:
            # The other half is for the commit.
            found = await run_with_timeout(remaining_ms(self._settings.request_timeout_ms) / 2000, check)
        except (StripeUnavailableError, StripeRefusedError, TimeoutError) as error:
            raise PaymentProviderUnavailableError(_UNKNOWN) from error
        authorized = found.state is PaymentState.AUTHORIZED
        if not authorized and found.state is not PaymentState.PAID:
            raise PaymentNotMadeError(hold, found.state.value)
        return Payment(
            found.intent_id or payment.payment_intent_id,
            found.session_id or payment.session_id,
            needs_capture=authorized,
            amount_total=found.amount_total,
            currency=found.currency,
        )

    async def _check(self, shop_id: str, payment: Payment) -> PaymentStatus:
        found = await self._accounts.check(shop_id, payment)
        if found is None:
            raise PaymentsNotConfiguredError("STRIPE_API_KEY is not set: the attached payment cannot be checked.")
        return found


def _require_kind(refusal: UpdateRefusedError) -> None:
    if refusal.kind != PAYMENT_NOT_MADE:
        raise refusal
