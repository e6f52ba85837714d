"""The payment activities: messages in, calls to Stripe, messages out."""

import asyncio
import hashlib
import logging
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.database_errors import database_errors_retried
from core.metrics import Telemetry
from core.sealing import Sealer, WrongKeyError
from domain.holds import HoldKey
from domain.payments import Payment
from inventory.checkout_parameters import read_parameters
from inventory.moments import note_stripe_event_due
from inventory.outbox import record_hold_event
from inventory.payment_events import CLOSED_BY_PERSON, PaymentEvent, record_payment_event
from payments.accounts import PaymentAccounts
from payments.client import PaymentClient
from payments.errors import StripeRefusedError, StripeUnavailableError
from payments.events import HOLD_METADATA_KEY, PAGE_METADATA_KEY, SHOP_METADATA_KEY, hold_in_metadata
from payments.grace_periods import grace_seconds
from payments.redaction import redacted
from payments.status import PaymentState, PaymentStatus
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
_LATE_LEVELS = {
    "recorded": logging.INFO,
    "closed_by_person": logging.INFO,
    "reacquired": logging.WARNING,
    "refunded": logging.WARNING,
}
"""Of the outcomes that need nobody: what was done is as the policy says. Any other is an error, for a person."""
_OTHER_ACCOUNT = (
    "By the worker's STRIPE_SHOPS, shop {} has no payments in the Stripe account {}: give API and workers the same."
)


class PaymentActivities(PaymentsPort):
    """PaymentsPort on Stripe. A shop without a client, because no key is set, has nobody to ask."""

    def __init__(
        self,
        engine: AsyncEngine,
        telemetry: Telemetry,
        accounts: PaymentAccounts | None = None,
        graces: Mapping[str, int] | None = None,
        secrets: Sequence[SecretStr] = (),
    ) -> None:
        self._engine = engine
        self._telemetry = telemetry
        self._accounts = accounts or PaymentAccounts([])
        self._graces = graces or {}
        self._secrets = secrets

    @activity.defn(name="open-checkout")
    async def open_checkout(self, request: OpenCheckout) -> CheckoutOutcome:
        """Open the hold's Checkout Session, or return the one it has."""
        if self._is_foreign(request.shop_id, request.account):
            return CheckoutRefused(_OTHER_ACCOUNT.format(request.shop_id, request.account), code=NOT_CONFIGURED)
        params = await self._params(request)
        if isinstance(params, CheckoutRefused):
            return params
        params["expires_at"] = int(request.expires_at.timestamp())
        key = f"checkout:{request.shop_id}:{request.hold_id}"
        if request.attempt is not None:
            key += ":" + hashlib.sha256(request.attempt.encode()).hexdigest()
        hide = params if request.parameters_id is not None else None
        async with self._stripe(
            "open-checkout", request.shop_id, request.hold_id, account=request.account, hide=hide
        ) as stripe:
            try:
                opened = await stripe.open_session(params, key, begun_at=request.begun_at)
            except StripeRefusedError as refusal:
                problem = str(refusal) if hide is None else redacted(str(refusal), hide)
                self._telemetry.warn(
                    "inventory_checkout_refused",
                    shop_id=request.shop_id,
                    hold_id=request.hold_id,
                    problem=problem,
                    code=refusal.code,
                )
                return CheckoutRefused(problem, refusal.code, refusal.param, refusal.callers_fault)
        assert opened.session_id is not None  # noqa: S101 - narrows the type
        return CheckoutOpened(
            opened.session_id,
            opened.url,
            opened.client_secret,
            opened.amount_total,
            opened.currency,
            account=stripe.place,
        )

    async def _params(self, request: OpenCheckout) -> dict[str, Any] | CheckoutRefused:
        """Return the session's parameters, decrypted if they are in the database."""
        if request.parameters_id is None:
            return dict(request.params)
        with database_errors_retried():
            sealed = await read_parameters(self._engine, request.parameters_id)
        if sealed is None:
            return CheckoutRefused("The hold has ended: the parameters of its checkout are deleted.")
        try:
            params: dict[str, Any] = Sealer(self._secrets).open(sealed)
        except WrongKeyError:
            return CheckoutRefused(
                "The worker has no HOLDFAST_CHECKOUT_SECRET, or another than the API.", code=NOT_CONFIGURED
            )
        return params

    @activity.defn(name="look-at-payment")
    async def check_payment(self, query: PaymentQuery) -> PaymentCheck:
        """Read a payment's status."""
        async with self._stripe_of("look-at-payment", query) as stripe:
            found = await stripe.check(session_id=query.payment.session_id, intent_id=query.payment.payment_intent_id)
            if query.find_session and found.session_id is None and found.intent_id is not None:
                found = replace(found, session_id=await stripe.session_of(found.intent_id))
            if query.find_session and found.session_id is not None:
                found = replace(found, recovered_from=await stripe.origin_of(found.session_id))
        return self._answer(found, query)

    @activity.defn(name="close-payment")
    async def close_payment(self, query: PaymentQuery) -> PaymentCheck:
        """Close a payment, so that it can no longer be made."""
        begun = time.monotonic()
        async with self._stripe_of("close-payment", query) as stripe:
            found = await stripe.close(
                query.payment.id,
                session_id=query.payment.session_id,
                intent_id=query.payment.payment_intent_id,
                cancel_authorized=query.give_back,
            )
        if found.closed or found.state in (PaymentState.PAID, PaymentState.AUTHORIZED):
            await note_stripe_event_due(self._engine, time.monotonic() - begun)
        return self._answer(found, query)

    @activity.defn(name="capture-payment")
    async def capture_payment(self, query: PaymentQuery) -> None:
        """Capture an authorised payment."""
        async with self._stripe_of("capture-payment", query) as stripe:
            intent_id = await self._intent_of(stripe, query)
            await stripe.capture(intent_id, f"capture:{intent_id}")

    @activity.defn(name="give-money-back")
    async def refund_or_cancel(self, query: PaymentQuery) -> None:
        """Refund a payment, or cancel an authorised one."""
        metadata = {HOLD_METADATA_KEY: query.hold_id, SHOP_METADATA_KEY: query.shop_id}
        async with self._stripe_of("give-money-back", query) as stripe:
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
        if report.outcome == "closed_by_person":
            await self._note_closed(report)
        self._telemetry.late_payment(
            report.outcome,
            level=_LATE_LEVELS.get(report.outcome, logging.ERROR),
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

    async def _note_closed(self, report: LatePaymentReport) -> None:
        """Keep that a person has settled the payment, longer than Temporal keeps the case."""
        key = HoldKey(report.late.shop_id, report.late.hold_id)
        info = activity.info()
        event = PaymentEvent(
            event_id=f"{CLOSED_BY_PERSON}:{report.late.payment.id}:{info.workflow_run_id}",
            type=CLOSED_BY_PERSON,
            occurred_at=datetime.now(UTC),
            payment_intent_id=report.late.payment.payment_intent_id,
            object_id=report.late.payment.session_id,
            reason=report.detail[:500].replace("\0", "") or None,
        )
        with database_errors_retried():
            await record_payment_event(self._engine, key, event, of_any_hold=True)

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
                found.intent_id or query.payment.payment_intent_id,
                found.session_id or query.payment.session_id,
                amount_total=found.amount_total,
                currency=found.currency,
                recovered_from=found.recovered_from,
            ),
            grace_seconds=grace_seconds(found.method, self._graces),
            expires_at=found.expires_at,
            of_another_hold=named not in (None, hold),
            is_page=named == hold and PAGE_METADATA_KEY in (found.metadata or {}),
        )

    def _is_foreign(self, shop_id: str, account: str | None) -> bool:
        """Return whether the shop has payments, but none in this account, by this worker's configuration."""
        known = self._accounts.of_shop(shop_id) is not None
        return known and account is not None and self._accounts.at(shop_id, account) is None

    def _stripe_of(self, what: str, query: PaymentQuery) -> AbstractAsyncContextManager[PaymentClient]:
        return self._stripe(what, query.shop_id, query.hold_id, payment=query.payment, account=query.account)

    @asynccontextmanager
    async def _stripe(
        self,
        what: str,
        shop_id: str,
        hold_id: str,
        *,
        payment: Payment | None = None,
        account: str | None = None,
        hide: dict[str, Any] | None = None,
    ) -> AsyncIterator[PaymentClient]:
        """Yield the client of the account; without one, of the shop's, or of that which has the existing payment.

        An error becomes an ApplicationError whose type decides about another attempt. The values of the parameters in
        `hide` are in no message, and then the error has no cause, which would have them in the history.
        """
        client = self._accounts.of_shop(shop_id)
        if client is None:
            raise ApplicationError("STRIPE_API_KEY is not set for the worker", type=NOT_CONFIGURED)
        if self._is_foreign(shop_id, account):
            problem = _OTHER_ACCOUNT.format(shop_id, account)
            self._telemetry.fail(
                "inventory_hold_error", shop_id=shop_id, hold_id=hold_id, activity=what, problem=problem
            )
            raise ApplicationError(problem, type="account")  # retried, as a key that Stripe refuses
        if account is not None:
            client, payment = self._accounts.at(shop_id, account) or client, None
        heartbeat = asyncio.create_task(_heartbeat())
        try:
            with self._telemetry.activities.labels(what).time():
                yield client if payment is None else await self._accounts.holding(shop_id, payment) or client
        except StripeUnavailableError as error:
            problem = f"Stripe: {error}" if hide is None else redacted(f"Stripe: {error}", hide)
            self._telemetry.fail(
                "inventory_hold_error", shop_id=shop_id, hold_id=hold_id, activity=what, problem=problem
            )
            raise ApplicationError(problem, type="away") from (error if hide is None else None)
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
