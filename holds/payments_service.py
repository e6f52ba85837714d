"""Payments from the caller's side: a page to pay on, a payment of the shop's own, and Stripe's word on either."""

import logging
import re
from dataclasses import replace
from functools import partial
from typing import Any

from api.dependencies import Context
from api.errors import ApiError, Problem, invalid
from api.tracing import about
from core.timeouts import bounded
from holds.service import Lifecycle, Made, Wanted, not_active
from holds.workflow_client import HoldKey, NoRunningWorkflowError, WorkflowCalls
from inventory.hold_payments import find_hold
from inventory.holds import Hold, HoldStatus, read_hold
from payments.client import PaymentClient
from payments.errors import IDEMPOTENCY_ERROR, StripeRefusedError, StripeUnavailableError
from payments.events import HANDLED_EVENT_TYPES, StripeEvent
from payments.session_params import Order, session_params
from payments.status import PaymentStatus
from workflows.messages import Attach, Attached, Cancel, Checkout
from workflows.payment_messages import (
    CheckoutOpened,
    CheckoutOutcome,
    CheckoutRefused,
    LatePayment,
    Payment,
    PaymentFailed,
    PaymentProcessing,
)

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Payments:
    """What the routes of checkout and webhook do."""

    def __init__(self, context: Context, lifecycle: Lifecycle, calls: WorkflowCalls) -> None:
        self._context = context
        self._lifecycle = lifecycle
        self._calls = calls

    @property
    def stripe(self) -> PaymentClient:
        """The way to Stripe. Raises ApiError 503 where no key is set."""
        if self._context.stripe is None:
            raise ApiError(Problem.payments_not_configured)
        return self._context.stripe

    async def open_checkout(self, wanted: Wanted, order: Order) -> tuple[Made, CheckoutOpened | None]:
        """Hold the stock and open a page to pay on; a repeat is answered with the hold and page of the first.

        The page is None where the hold has ended. Raises ApiError as a create does, and where Stripe refuses.
        """
        _ = self.stripe
        return await bounded(
            self._context, self._open_checkout(wanted, order), hold=HoldKey(wanted.shop_id, wanted.hold_id)
        )

    async def _open_checkout(self, wanted: Wanted, order: Order) -> tuple[Made, CheckoutOpened | None]:
        made = await self._lifecycle.prepare(wanted)
        if made is not None:
            return made, await self._page_of(made.hold)
        hold = replace(self._lifecycle.input_for(wanted), checkout=Checkout(session_params(order)))
        answer = await self._calls.open_checkout(hold)
        made = await self._lifecycle.judge(wanted, answer.reservation)
        if answer.checkout is None:
            return replace(made, hold=await self._lifecycle.read(wanted.shop_id, wanted.hold_id)), None
        return made, _opened(answer.checkout, wanted.hold_id)

    async def _page_of(self, hold: Hold) -> CheckoutOpened | None:
        """Return the page of a hold that was made before; None where it has ended or its workflow is not there."""
        if hold.status is HoldStatus.ACTIVE:
            try:
                answer = await self._calls.checkout(HoldKey(hold.shop_id, hold.hold_id))
            except NoRunningWorkflowError:
                answer = None
            if answer is not None and answer.checkout is not None:
                return _opened(answer.checkout, hold.hold_id)
        return CheckoutOpened(hold.payment_session_id, None) if hold.payment_session_id else None

    async def open_without_hold(self, order: Order, key: str) -> PaymentStatus:
        """Open a page to pay on for which nothing is held. Raises ApiError."""
        params = session_params(order)
        try:
            return await bounded(self._context, self.stripe.open_session(params, key, begun_at=None))
        except StripeUnavailableError as error:
            raise ApiError(Problem.payment_provider_unavailable) from error
        except StripeRefusedError as refusal:
            if refusal.code == IDEMPOTENCY_ERROR:
                raise ApiError(Problem.idempotency_conflict) from refusal
            raise _refused(
                CheckoutRefused(str(refusal), refusal.code, refusal.param, refusal.callers_fault)
            ) from refusal

    async def attach(self, shop_id: str, hold_id: str, payment: Payment) -> Hold:
        """Make a payment of the shop's own the hold's, and answer the hold. Raises ApiError 404, 409, 422, 503."""
        _ = self.stripe
        return await bounded(self._context, self._attach(shop_id, hold_id, payment), hold=HoldKey(shop_id, hold_id))

    async def _attach(self, shop_id: str, hold_id: str, payment: Payment) -> Hold:
        call = partial(self._calls.attach, message=Attach(payment))
        answer = await self._lifecycle.ask(shop_id, hold_id, call) or Attached(ended="missing")
        hold = await self._lifecycle.read(shop_id, hold_id)
        match answer.refused:
            case None if answer.ended is None or _is_attached(payment, hold):
                return hold
            case None:
                raise not_active(hold)
            case "already_attached":
                raise ApiError(Problem.payment_already_attached, holdId=hold_id, **_payment_of(hold))
            case "of_another_hold":
                raise ApiError(Problem.payment_of_another_hold)
            case "unpayable":
                raise ApiError(Problem.payment_not_payable)
            case "unknown":
                field = "checkoutSessionId" if payment.session_id else "paymentIntentId"
                raise invalid(field, "Stripe has none with this id")
            case "not_configured":
                raise ApiError(Problem.payments_not_configured, "STRIPE_API_KEY is not set for the worker.")
            case "away":
                raise ApiError(Problem.payment_provider_unavailable)

    async def hear(self, event: StripeEvent) -> str:
        """Do what an event asks for, and return what was done, once it is durable.

        May be repeated: each message is keyed by the payment or the event. Raises ApiError 503 where Postgres or
        Temporal is out of reach, so that Stripe comes again.
        """
        level = logging.INFO
        if event.kind == "ignored":
            result = "ignored"
        else:
            result, level = await bounded(self._context, self._hear(event))
        self._context.telemetry.stripe_event(
            event.type,
            result,
            known=event.type in HANDLED_EVENT_TYPES,
            level=level,
            event_id=event.event_id,
            about=event.object_id,
            shop_id=event.shop_id,
            hold_id=event.hold_id,
        )
        return result

    async def _hear(self, event: StripeEvent) -> tuple[str, int]:
        key = await self._hold_of(event)
        if key is None:
            return "not_ours", logging.INFO
        about(key)
        payment = Payment(event.intent_id, event.session_id, needs_capture=event.kind == "authorized")
        if event.kind == "record":
            return "recorded", logging.WARNING
        if event.kind == "refund_failed":
            await self._calls.look_after(LatePayment(key.shop_id, key.hold_id, payment, refund_failed=True))
            return "refund_failed", logging.ERROR
        name, message = _message(event, payment)
        try:
            await self._calls.signal(key, name, message)
        except NoRunningWorkflowError:
            return await self._hear_late(key, payment, name, message)
        return "told", logging.INFO

    async def _hear_late(self, key: HoldKey, payment: Payment, name: str, message: object) -> tuple[str, int]:
        hold = await read_hold(self._context.engine, key.shop_id, key.hold_id)
        if hold is None:
            return "unknown_hold", logging.ERROR
        if hold.status is HoldStatus.ACTIVE:  # its run was terminated: a new one hears the message first
            await self._calls.signal(self._lifecycle.to_go_on(hold), name, message)
            return "told", logging.INFO
        if name != "payment_succeeded":
            return "ended_before", logging.INFO
        if hold.status is HoldStatus.COMMITTED and payment.bought(_of_row(hold)):
            return "known", logging.INFO
        await self._calls.look_after(LatePayment(key.shop_id, key.hold_id, payment))
        return "late", logging.WARNING

    async def _hold_of(self, event: StripeEvent) -> HoldKey | None:
        """Return the hold that the metadata name, else the one to which the shop attached the payment."""
        if event.session_id is None and event.intent_id is None:
            return None
        if event.shop_id is not None and event.hold_id is not None:
            known = _ID.fullmatch(event.shop_id) and _ID.fullmatch(event.hold_id)
            return HoldKey(event.shop_id, event.hold_id) if known else None
        hold = await find_hold(self._context.engine, session_id=event.session_id, intent_id=event.intent_id)
        return HoldKey(hold.shop_id, hold.hold_id) if hold is not None else None


def _message(event: StripeEvent, payment: Payment) -> tuple[str, object]:
    """Return the signal that an event is to a hold's workflow."""
    match event.kind:
        case "succeeded" | "authorized":
            return "payment_succeeded", payment
        case "processing":
            return "payment_processing", PaymentProcessing(payment)
        case "failed":
            return "payment_failed", PaymentFailed(payment, event.event_id)
        case _:
            return "cancel", Cancel(actor="stripe", reason=event.type.replace(".", "_"), payment=payment)


def _opened(checkout: CheckoutOutcome, hold_id: str) -> CheckoutOpened:
    if isinstance(checkout, CheckoutRefused):
        raise _refused(checkout, holdId=hold_id)
    return checkout


def _refused(refusal: CheckoutRefused, **named: Any) -> ApiError:  # noqa: ANN401 - JSON
    if refusal.code == "payments_not_configured":
        return ApiError(Problem.payments_not_configured, refusal.message, **named)
    problem = Problem.checkout_refused if refusal.callers_fault else Problem.payment_provider_refused
    told = {"stripeCode": refusal.code, "param": refusal.param}
    return ApiError(problem, refusal.message, **{k: v for k, v in told.items() if v is not None}, **named)


def _of_row(hold: Hold) -> Payment:
    return Payment(hold.payment_intent_id, hold.payment_session_id)


def _is_attached(payment: Payment, hold: Hold) -> bool:
    return payment.is_same(_of_row(hold))


def _payment_of(hold: Hold) -> dict[str, str]:
    named = {"checkoutSessionId": hold.payment_session_id, "paymentIntentId": hold.payment_intent_id}
    return {name: value for name, value in named.items() if value is not None}
