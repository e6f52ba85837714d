"""Payments of holds: opens a Checkout Session, attaches a payment of the shop's own, and receives Stripe's events."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import DatabaseBusyError, DatabaseUnavailableError
from core.settings import Settings
from core.timeouts import run_with_timeout
from domain.holds import Hold, HoldKey, HoldStatus
from domain.payments import Payment
from holds.checkout_parameters import CheckoutParameters
from holds.errors import (
    CheckoutRefusedError,
    HoldNotActiveError,
    HoldNotFoundError,
    IdempotencyConflictError,
    PaymentAlreadyAttachedError,
    PaymentInProgressError,
    PaymentNotPayableError,
    PaymentOfAnotherHoldError,
    PaymentProviderUnavailableError,
    PaymentsNotConfiguredError,
    UnknownPaymentError,
)
from holds.event_origin import EventOrigin
from holds.model import CreateResult, HoldRequest
from holds.replacing import replacing
from holds.request_timeout import name_hold_on_span, remaining_ms, run_for_caller
from holds.resume import AlreadyEnded
from holds.service import HoldService
from holds.temporal_errors import NoRunningWorkflowError
from holds.workflow_client import WorkflowClient
from inventory.hold_payments import find_hold
from inventory.holds import read_hold
from inventory.payment_events import PaymentEvent, find_hold_of_payment, record_payment_event
from payments.account_params import with_account
from payments.accounts import PaymentAccounts
from payments.client import PaymentClient
from payments.errors import IDEMPOTENCY_ERROR, StripeRefusedError, StripeUnavailableError
from payments.events import EventDetails, StripeEvent
from payments.session_params import Order, session_params
from payments.status import PaymentState, PaymentStatus
from workflows.hold import HoldWorkflow
from workflows.messages import Attach, Attached, Cancel, settled_status
from workflows.payment_messages import (
    AttachRefusal,
    CheckoutOpened,
    CheckoutOutcome,
    CheckoutRefused,
    LatePayment,
    PaymentFailed,
    PaymentProcessing,
)
from workflows.ports import NOT_CONFIGURED

_ANSWER_SECONDS = 3.0
"""How long an event waits at most for the hold's run to take it: another worker takes over a run after two seconds."""
_CHECK_SECONDS = 1.0
"""How long an event that would sell a hold waits for Stripe's word that its payment was not refunded since."""
_NO_ANSWER = (
    StripeUnavailableError,
    StripeRefusedError,
    DatabaseBusyError,
    DatabaseUnavailableError,
    TimeoutError,
)
_TAKEN_BACK = "payment.taken_back"
"""Becomes the reason of the hold's end."""


@dataclass(frozen=True, slots=True)
class EventResult:
    """What was done with an event: a word for the metric's label and the answer, and the level of the log line."""

    result: str
    level: int = logging.INFO


class PaymentsService:
    """What can be done with the payment of a hold, whoever asks. Expected failures are raised as `holds.errors`."""

    def __init__(
        self,
        engine: AsyncEngine,
        holds: HoldService,
        workflows: WorkflowClient,
        settings: Settings,
        accounts: PaymentAccounts,
    ) -> None:
        self._engine = engine
        self._holds = holds
        self._workflows = workflows
        self._settings = settings
        self._accounts = accounts
        self._parameters = CheckoutParameters(engine, settings)

    @property
    def live_mode(self) -> bool:
        """Whether the API key is about real money."""
        return self._settings.stripe_live_mode is True

    def require_stripe(self, shop_id: str) -> PaymentClient:
        """Return the client of the shop's Stripe account. Raises PaymentsNotConfiguredError without an API key."""
        client = self._accounts.of_shop(shop_id)
        if client is None:
            raise PaymentsNotConfiguredError
        return client

    async def open_checkout(self, request: HoldRequest, order: Order) -> tuple[CreateResult, CheckoutOpened | None]:
        """Hold the stock and open a Checkout Session; a repeat gets the hold and session of the first request.

        The session is None if the hold has ended. Raises as HoldService.create, and CheckoutRefusedError,
        PaymentsNotConfiguredError, UnknownFeeError.
        """
        self.require_stripe(request.shop_id)
        work = self._open_checkout(request, order)
        return await self._holds.gone_callers.run(self._settings.request_timeout_ms, work, request)

    async def _open_checkout(self, request: HoldRequest, order: Order) -> tuple[CreateResult, CheckoutOpened | None]:
        return await replacing(request, partial(self._open_checkout_once, request, order))

    async def _open_checkout_once(
        self, request: HoldRequest, order: Order
    ) -> tuple[CreateResult, CheckoutOpened | None]:
        prepared = await self._holds.prepare(request)
        if isinstance(prepared, CreateResult):
            return prepared, await self._session_of(prepared.hold)
        hold = replace(prepared, checkout=await self._parameters.checkout(request.key, order))
        answer = await self._workflows.open_checkout(hold)
        result = await self._holds.result(request, answer.reservation)
        if answer.checkout is None:
            return replace(result, hold=await self._holds.row(request.key)), None
        return result, require_opened(answer.checkout, request.hold_id)

    async def _session_of(self, hold: Hold) -> CheckoutOpened | None:
        """Return the session of a hold that was made before, without its URL if the hold has no open run."""
        if hold.status is HoldStatus.ACTIVE:
            try:
                # Each page of a hold whose page was changed has an update of its own.
                page = hold.payment_session_id or (str(hold.revision) if hold.revision else "")
                answer = await self._workflows.checkout(hold.key, page and f"-{page}")
            except NoRunningWorkflowError:
                answer = None
            if answer is not None and answer.checkout is not None:
                return require_opened(answer.checkout, hold.hold_id)
        return CheckoutOpened(hold.payment_session_id, None) if hold.payment_session_id else None

    async def open_without_hold(self, order: Order, idempotency_key: str) -> PaymentStatus:
        """Open a Checkout Session for which nothing is held.

        Raises CheckoutRefusedError, IdempotencyConflictError, PaymentProviderUnavailableError,
        PaymentsNotConfiguredError and UnknownFeeError.
        """
        account = self._settings.shop_accounts.get(order.shop_id)
        params = with_account(session_params(order), account, order.lines)
        work = self.require_stripe(order.shop_id).open_session(params, idempotency_key, begun_at=None)
        try:
            return await run_for_caller(self._settings.request_timeout_ms, work)
        except StripeUnavailableError as error:
            raise PaymentProviderUnavailableError from error
        except StripeRefusedError as error:
            if error.code == IDEMPOTENCY_ERROR:
                raise IdempotencyConflictError from error
            raise CheckoutRefusedError(
                str(error), code=error.code, param=error.param, callers_fault=error.callers_fault
            ) from error

    async def attach(self, key: HoldKey, payment: Payment, *, actor: str, replace: bool = False) -> Hold:
        """Attach a payment that the shop opened itself, and return the hold. `replace`: close its earlier one first.

        Raises HoldNotFoundError, HoldNotActiveError, PaymentAlreadyAttachedError, PaymentOfAnotherHoldError,
        PaymentInProgressError (with `replace`: the earlier one),
        PaymentNotPayableError, UnknownPaymentError, PaymentsNotConfiguredError, PaymentProviderUnavailableError and
        as HoldService.create for time-outs.
        """
        self.require_stripe(key.shop_id)
        message = Attach(payment, replace, actor)
        return await run_for_caller(self._settings.request_timeout_ms, self._attach(key, message), key)

    async def _attach(self, key: HoldKey, message: Attach) -> Hold:
        return await self._with_payment(key, message.payment) or await self._attach_new(key, message)

    async def _with_payment(self, key: HoldKey, payment: Payment) -> Hold | None:
        """Return the active hold if it has the payment: a repeat, which need not count against a run's updates.

        Raises PaymentNotPayableError or UnknownPaymentError if the payment has ended since, which the row does not say.
        """
        hold = await read_hold(self._engine, *key)
        if hold is None or hold.status is not HoldStatus.ACTIVE or not payment.is_same(hold.payment):
            return None
        match await self._state_of(key.shop_id, payment):
            case PaymentState.UNPAYABLE | PaymentState.REFUNDED:
                raise PaymentNotPayableError
            case PaymentState.UNKNOWN:
                raise UnknownPaymentError(payment)
        return hold

    async def _state_of(self, shop_id: str, payment: Payment) -> PaymentState | None:
        """Return the payment's state at Stripe, None if Stripe does not answer in half of the request's time."""
        check = self._accounts.check(shop_id, payment)
        with suppress(StripeUnavailableError, StripeRefusedError, TimeoutError):
            found = await run_with_timeout(self._settings.request_timeout_ms / 2000, check)
            return None if found is None else found.state
        return None

    async def _attach_new(self, key: HoldKey, message: Attach) -> Hold:
        payment, call = message.payment, partial(self._workflows.attach, message=message)
        answer = await self._holds.messenger.send(key, call)
        if isinstance(answer, AlreadyEnded):
            hold, answer = answer.hold, Attached(ended=settled_status(answer.hold.status))
        else:
            hold = await self._holds.row(key)
        if answer.refused is not None:
            raise _attach_refusal(answer.refused, hold, payment)
        if answer.ended is not None and not payment.is_same(hold.payment):
            raise HoldNotActiveError(key, hold.status)
        return hold

    async def receive_event(self, event: StripeEvent, secret: str | None = None) -> EventResult:
        """Do what a Stripe event requires, and return what was done, once that is durable.

        `secret` signed it: an account with a key of its own speaks for its shops only.

        May be repeated: each message is keyed by the payment or the event. Raises RequestTimeoutError,
        UnavailableError, TemporalBusyError and DatabaseBusyError, so that Stripe delivers the event again.
        """
        if self._settings.stripe_live_mode not in (None, event.livemode):
            return EventResult("wrong_mode", logging.ERROR)  # a payment with test money sells nothing at a live key
        if event.kind == "ignored":
            return EventResult("ignored")
        origin = EventOrigin.of(event, secret, self._settings.shop_accounts)
        if origin is None:
            return EventResult("unknown_account", logging.WARNING)
        return await run_for_caller(self._settings.request_timeout_ms, self._receive_event(event, origin))

    async def _receive_event(self, event: StripeEvent, origin: EventOrigin) -> EventResult:
        key = await self._hold_of(event)
        if key is None:
            return EventResult("not_ours")
        if not origin.has_payments_of(key.shop_id, self._settings.shop_accounts):
            return EventResult("wrong_account", logging.ERROR)
        return await self._deliver(key, event)

    async def deliver(self, key: HoldKey, event: StripeEvent) -> EventResult:
        """Tell the hold of what Stripe's list has and no event told. May be repeated. Raises as `receive_event`."""
        return await run_for_caller(self._settings.request_timeout_ms, self._deliver(key, event), key)

    async def _deliver(self, key: HoldKey, event: StripeEvent) -> EventResult:
        name_hold_on_span(key)
        payment = event.payment
        if event.details is not None:
            await record_payment_event(self._engine, key, _kept(event, event.details))
        match event.kind:
            case "record":
                return EventResult("recorded", logging.WARNING)
            case "refund_failed":
                await self._workflows.start_late_payment(await self._failed_refund(key, payment))
                return EventResult("refund_failed", logging.ERROR)
            case "succeeded" | "authorized" if await self._taken_back(key, event):
                await self._tell(key, replace(event, kind="ended", type=_TAKEN_BACK), payment)
                return EventResult("taken_back", logging.WARNING)
        return await self._tell(key, event, payment)

    async def _taken_back(self, key: HoldKey, event: StripeEvent) -> bool:
        """Return whether the payment was refunded or cancelled since the event, which tells what was true then.

        Asked only for a hold that the event would sell. Where database or Stripe do not answer, the event counts.
        """
        if event.intent_id is None:
            return False
        with suppress(*_NO_ANSWER):
            state = await run_with_timeout(_CHECK_SECONDS, self._state_for_active(key, event.intent_id))
            return state in (PaymentState.REFUNDED, PaymentState.UNPAYABLE)
        return False

    async def _state_for_active(self, key: HoldKey, intent_id: str) -> PaymentState | None:
        """Return the payment's state at Stripe, None if the hold has ended."""
        hold = await read_hold(self._engine, *key)
        if hold is None or hold.status is not HoldStatus.ACTIVE:
            return None
        found = await self._accounts.check(key.shop_id, Payment(intent_id))
        return None if found is None else found.state

    async def _failed_refund(self, key: HoldKey, payment: Payment) -> LatePayment:
        hold = await read_hold(self._engine, *key)
        return LatePayment(*key, payment, refund_failed=True, reference=None if hold is None else hold.reference)

    async def _tell(self, key: HoldKey, event: StripeEvent, payment: Payment) -> EventResult:
        """Tell the hold's workflow of the event; if the hold has ended, start the workflow of a late payment."""
        signal, message = _signal_of(event, payment)
        seconds = min(remaining_ms(self._settings.request_timeout_ms) / 2000, _ANSWER_SECONDS)
        try:
            answer = await self._holds.messenger.send(
                key, partial(self._workflows.tell, signal=signal, message=message, seconds=seconds)
            )
        except HoldNotFoundError:
            return EventResult("unknown_hold", logging.ERROR)
        if not isinstance(answer, AlreadyEnded):
            return EventResult("told" if answer else "known")
        if event.kind not in ("succeeded", "authorized"):
            return EventResult("ended_before")
        if payment.bought(answer.hold.bought_by):
            return EventResult("known")
        await self._workflows.start_late_payment(LatePayment(*key, payment, reference=answer.hold.reference))
        return EventResult("late", logging.WARNING)

    async def _hold_of(self, event: StripeEvent) -> HoldKey | None:
        """Return the hold that the metadata name, else the one to which the shop attached the payment."""
        if event.session_id is None and event.intent_id is None:
            return None
        if event.hold is not None:
            return event.hold
        if event.details is not None:
            return await find_hold_of_payment(self._engine, session_id=event.session_id, intent_id=event.intent_id)
        hold = await find_hold(self._engine, session_id=event.session_id, intent_id=event.intent_id)
        return None if hold is None else hold.key


def _kept(event: StripeEvent, details: EventDetails) -> PaymentEvent:
    return PaymentEvent(
        event_id=event.event_id,
        type=event.type,
        occurred_at=event.created or datetime.now(UTC),
        payment_intent_id=event.intent_id,
        object_id=event.object_id,
        amount=details.amount,
        currency=details.currency,
        status=details.status,
        reason=details.reason,
    )


def _attach_refusal(refused: AttachRefusal, hold: Hold, payment: Payment) -> Exception:
    errors: dict[AttachRefusal, Exception] = {
        "already_attached": PaymentAlreadyAttachedError(hold),
        "in_progress": PaymentInProgressError(hold),
        "of_another_hold": PaymentOfAnotherHoldError(),
        "unpayable": PaymentNotPayableError(),
        "unknown": UnknownPaymentError(payment),
        "not_configured": PaymentsNotConfiguredError("STRIPE_API_KEY is not set for the worker."),
        "away": PaymentProviderUnavailableError(),
    }
    return errors[refused]


def _signal_of(event: StripeEvent, payment: Payment) -> tuple[Callable[..., None], object]:
    """Return the signal of HoldWorkflow that an event becomes, and its message."""
    match event.kind:
        case "succeeded" | "authorized":
            return HoldWorkflow.payment_succeeded, payment
        case "processing":
            return HoldWorkflow.payment_processing, PaymentProcessing(payment)
        case "failed":
            return HoldWorkflow.payment_failed, PaymentFailed(payment, event.event_id)
        case _:
            reason = event.type.replace(".", "_")
            return HoldWorkflow.cancel, Cancel(actor="stripe", reason=reason, payment=payment)


def require_opened(checkout: CheckoutOutcome, hold_id: str) -> CheckoutOpened:
    """Return the session. Raises PaymentsNotConfiguredError and CheckoutRefusedError if it was refused."""
    match checkout:
        case CheckoutOpened():
            return checkout
        case CheckoutRefused(code=code) if code == NOT_CONFIGURED:
            raise PaymentsNotConfiguredError(checkout.message, hold_id)
        case CheckoutRefused():
            raise CheckoutRefusedError(
                checkout.message,
                code=checkout.code,
                param=checkout.param,
                callers_fault=checkout.callers_fault,
                hold_id=hold_id,
            )
