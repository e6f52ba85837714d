"""The payment activities: messages in, calls to Stripe, messages out."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.database_errors import database_errors_retried
from core.metrics import Telemetry
from domain.holds import HoldKey
from domain.payments import Payment
from inventory.outbox import record_hold_event
from payments.client import PaymentClient
from payments.errors import StripeRefusedError, StripeUnavailableError
from payments.events import HOLD_METADATA_KEY, PAGE_METADATA_KEY, SHOP_METADATA_KEY, hold_in_metadata
from payments.grace_periods import grace_seconds
from payments.status import PaymentStatus
from workflows.payment_messages import (
    CheckoutOpened,
    CheckoutOutcome,
    CheckoutRefused,
    LatePaymentReport,
    OpenCheckout,
    PaymentCheck,
    PaymentQuery,
    PaymentTrouble,
)
from workflows.ports import NOT_CONFIGURED, PAYMENT_REFUSED, PaymentsPort

_HEARTBEAT_SECONDS = 3.0
_LATE_IN_ORDER = frozenset({"recorded", "closed_by_person"})


class PaymentActivities(PaymentsPort):
    """PaymentsPort on Stripe. Without a client, because no key is set, there is nobody to ask."""

    def __init__(
        self,
        engine: AsyncEngine,
        telemetry: Telemetry,
        client: PaymentClient | None = None,
        graces: Mapping[str, int] | None = None,
    ) -> None:
        self._engine = engine
        self._telemetry = telemetry
        self._client = client
        self._graces = graces or {}

    @activity.defn(name="open-checkout")
    async def open_checkout(self, request: OpenCheckout) -> CheckoutOutcome:
        """Open the hold's Checkout Session, or return the one it has."""
        params = {**request.params, "expires_at": int(request.expires_at.timestamp())}
        key = f"checkout:{request.shop_id}:{request.hold_id}"
        if request.attempt is not None:
            key += ":" + hashlib.sha256(request.attempt.encode()).hexdigest()
        async with self._stripe("open-checkout", request.shop_id, request.hold_id) as stripe:
            try:
                opened = await stripe.open_session(params, key, begun_at=request.begun_at)
            except StripeRefusedError as refusal:
                self._telemetry.warn(
                    "inventory_checkout_refused",
                    shop_id=request.shop_id,
                    hold_id=request.hold_id,
                    problem=str(refusal),
                    code=refusal.code,
                )
                return CheckoutRefused(str(refusal), refusal.code, refusal.param, refusal.callers_fault)
        assert opened.session_id is not None  # noqa: S101 - narrows the type
        return CheckoutOpened(opened.session_id, opened.url)

    @activity.defn(name="look-at-payment")
    async def check_payment(self, query: PaymentQuery) -> PaymentCheck:
        """Read a payment's status."""
        async with self._stripe("look-at-payment", query.shop_id, query.hold_id) as stripe:
            found = await stripe.check(session_id=query.payment.session_id, intent_id=query.payment.payment_intent_id)
            if query.find_session and found.session_id is None and found.intent_id is not None:
                found = replace(found, session_id=await stripe.session_of(found.intent_id))
        return self._answer(found, query)

    @activity.defn(name="close-payment")
    async def close_payment(self, query: PaymentQuery) -> PaymentCheck:
        """Close a payment, so that it can no longer be made."""
        async with self._stripe("close-payment", query.shop_id, query.hold_id) as stripe:
            found = await stripe.close(
                query.payment.id,
                session_id=query.payment.session_id,
                intent_id=query.payment.payment_intent_id,
                cancel_authorized=query.give_back,
            )
        return self._answer(found, query)

    @activity.defn(name="capture-payment")
    async def capture_payment(self, query: PaymentQuery) -> None:
        """Capture an authorised payment."""
        async with self._stripe("capture-payment", query.shop_id, query.hold_id) as stripe:
            intent_id = await self._intent_of(stripe, query)
            await stripe.capture(intent_id, f"capture:{intent_id}")

    @activity.defn(name="give-money-back")
    async def refund_or_cancel(self, query: PaymentQuery) -> None:
        """Refund a payment, or cancel an authorised one."""
        metadata = {HOLD_METADATA_KEY: query.hold_id, SHOP_METADATA_KEY: query.shop_id}
        async with self._stripe("give-money-back", query.shop_id, query.hold_id) as stripe:
            intent_id = await self._intent_of(stripe, query)
            await stripe.refund_or_cancel(intent_id, f"refund:{query.hold_id}:{intent_id}", metadata)

    @activity.defn(name="report-payment-trouble")
    async def report_trouble(self, trouble: PaymentTrouble) -> None:
        """Alert operations to a payment that needs attention."""
        self._telemetry.fail(
            "inventory_payment_trouble",
            shop_id=trouble.shop_id,
            hold_id=trouble.hold_id,
            payment_id=trouble.payment_id,
            problem=trouble.problem,
        )

    @activity.defn(name="report-late-payment")
    async def report_late_payment(self, report: LatePaymentReport) -> None:
        """Report the outcome of a late payment to operations, count it, and note an event for the shop."""
        await self._note_event(report)
        self._telemetry.late_payment(
            report.outcome,
            in_order=report.outcome in _LATE_IN_ORDER,
            shop_id=report.late.shop_id,
            hold_id=report.late.hold_id,
            payment_id=report.late.payment.id,
            detail=report.detail,
        )

    async def _note_event(self, report: LatePaymentReport) -> None:
        late = report.late
        name = f"late-payment:{late.shop_id}:{late.hold_id}:{late.payment.id}:{report.outcome}"
        with database_errors_retried():
            await record_hold_event(
                self._engine,
                event_id=str(uuid.uuid5(uuid.NAMESPACE_OID, name)),
                event_type="hold.late_payment",
                shop_id=late.shop_id,
                hold_id=late.hold_id,
                more={"outcome": report.outcome, "paymentIntentId": late.payment.payment_intent_id},
            )

    async def _intent_of(self, stripe: PaymentClient, query: PaymentQuery) -> str:
        if query.payment.payment_intent_id is not None:
            return query.payment.payment_intent_id
        found = await stripe.check(session_id=query.payment.session_id)
        if found.intent_id is None:
            raise StripeRefusedError("the session has no payment", code=None, param=None, callers_fault=False)
        return found.intent_id

    def _answer(self, found: PaymentStatus, query: PaymentQuery) -> PaymentCheck:
        named, hold = hold_in_metadata(found.metadata or {}), HoldKey(query.shop_id, query.hold_id)
        return PaymentCheck(
            state=found.state.value,
            payment=Payment(
                found.intent_id or query.payment.payment_intent_id, found.session_id or query.payment.session_id
            ),
            grace_seconds=grace_seconds(found.method, self._graces),
            expires_at=found.expires_at,
            of_another_hold=named not in (None, hold),
            is_page=named == hold and PAGE_METADATA_KEY in (found.metadata or {}),
        )

    @asynccontextmanager
    async def _stripe(self, what: str, shop_id: str, hold_id: str) -> AsyncIterator[PaymentClient]:
        """Yield the Stripe client; an error becomes an ApplicationError whose type decides about another attempt."""
        if self._client is None:
            raise ApplicationError("STRIPE_API_KEY is not set for the worker", type=NOT_CONFIGURED)
        heartbeat = asyncio.create_task(_heartbeat())
        try:
            with self._telemetry.activities.labels(what).time():
                yield self._client
        except StripeUnavailableError as error:
            self._telemetry.fail(
                "inventory_hold_error", shop_id=shop_id, hold_id=hold_id, activity=what, problem=f"Stripe: {error}"
            )
            raise ApplicationError(f"Stripe: {error}", type="away") from error
        except StripeRefusedError as refusal:
            # Operations can fix the key or the account, so these are retried; a refused payment is not.
            kind = PAYMENT_REFUSED if refusal.callers_fault else "account"
            self._telemetry.fail(
                "inventory_hold_error", shop_id=shop_id, hold_id=hold_id, activity=what, problem=f"Stripe: {refusal}"
            )
            raise ApplicationError(f"Stripe: {refusal}", type=kind) from refusal
        finally:
            heartbeat.cancel()


async def _heartbeat() -> None:
    """Heartbeat until cancelled, so that after this worker's death another one continues before the time-out."""
    while True:
        await asyncio.sleep(_HEARTBEAT_SECONDS)
        activity.heartbeat()
