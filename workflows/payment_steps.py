"""The payment steps of a hold's workflow: open a Checkout Session, check, attach, close and capture a payment."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from domain.payments import Payment
from workflows import activity_calls
from workflows.activity_calls import cause_of
from workflows.doubts import doubted, resolve
from workflows.hold_state import HoldState
from workflows.messages import Attach, Attached, AttachRequest, Cancel, Checkout, HoldInput
from workflows.patches import ATTACHES_ANEW, DOUBTS_UNDER_WAY, GRACE_ENDS_EARLY
from workflows.payment_messages import (
    AttachRefusal,
    ChangeRefusal,
    CheckoutOpened,
    CheckoutOutcome,
    CheckoutRefused,
    OpenCheckout,
    PaymentCheck,
    PaymentProcessing,
    PaymentQuery,
    PaymentTrouble,
)
from workflows.ports import NOT_CONFIGURED
from workflows.priorities import Importance

Answer = TypeVar("Answer")

_SHORTEST_SESSION = timedelta(minutes=35)
"""Stripe requires 30 minutes from the time of the call; the rest is for clock skew and a late call."""
_LONGEST_SESSION = timedelta(hours=24) - timedelta(minutes=5)
_AFTER_CEILING = timedelta(minutes=5)
_MIN_GRACE = timedelta(minutes=5)
"""The longest interval between two attempts. Temporal gives up an activity when the next attempt would be too late, and
one attempt must follow the end of the session."""
CHECKOUT_REFUSED = "checkout_refused"


class PaymentSteps:
    """The payment steps of one hold. Their results are recorded in the state, from which `decide` continues."""

    def __init__(self, hold: HoldInput, state: HoldState) -> None:
        self._hold = hold
        self._state = state
        self._session_expires_at: datetime | None = None
        self._opening: asyncio.Task[None] | None = None
        self._in_row: Payment | None = None
        self.checkout: CheckoutOutcome | None = None
        self.page_closed = False
        """Whether the page was closed for a change of the hold and none was opened since."""
        self.attached: dict[Attach, Attached] = {}
        """The answer to each attach request."""

    @property
    def is_opening(self) -> bool:
        """Whether the Checkout Session is being opened, or written to the row."""
        return self._opening is not None and not self._opening.done()

    @property
    def session_expires_at(self) -> datetime | None:
        """When the payment's session expires at Stripe, if that is known."""
        return self._session_expires_at

    def restore(
        self, checkout: CheckoutOutcome | None, session_expires_at: datetime | None, *, page_closed: bool
    ) -> None:
        """Restore what the earlier run knew."""
        self.checkout, self._session_expires_at, self.page_closed = checkout, session_expires_at, page_closed

    @property
    def in_row(self) -> Payment | None:
        """The payment that the hold's row names."""
        return self._in_row

    def adopt(self, payment: Payment | None) -> None:
        """Record the payment that the hold's row names."""
        self._in_row = payment

    def begin_checkout(self, created_at: datetime) -> None:
        """Start to open the Checkout Session concurrently; from here on one may exist."""
        if self._hold.checkout is None or self._hold.continued is not None:
            return
        ceiling = timedelta(seconds=self._hold.max_ttl_seconds)
        ends = created_at + min(max(_SHORTEST_SESSION, ceiling + _AFTER_CEILING), _LONGEST_SESSION)
        self._state.opening = True
        self._opening = asyncio.create_task(self._open_first(self._open_request(self._hold.checkout, ends, created_at)))

    def begin_another_checkout(
        self, checkout: Checkout, attempt: str, created_at: datetime, then: Callable[[CheckoutOutcome], None]
    ) -> None:
        """Start to open a later Checkout Session of the hold. If Stripe refuses it, the hold stays."""
        ceiling = created_at + timedelta(seconds=self._hold.max_ttl_seconds)
        now = workflow.now()
        ends = min(max(ceiling + _AFTER_CEILING, now + _SHORTEST_SESSION), now + _LONGEST_SESSION)
        request = self._open_request(checkout, ends, now, attempt)

        async def opened() -> None:
            then(await self._open(request))

        self._state.opening = True
        self._opening = asyncio.create_task(opened())

    def _open_request(
        self, checkout: Checkout, ends: datetime, begun_at: datetime, attempt: str | None = None
    ) -> OpenCheckout:
        self._session_expires_at = ends
        return OpenCheckout(
            self._hold.shop_id,
            self._hold.hold_id,
            checkout.params,
            expires_at=ends,
            begun_at=begun_at,
            attempt=attempt,
            parameters_id=checkout.parameters_id,
            account=checkout.account,
        )

    def _query(self, payment: Payment, *, give_back: bool = False, find_session: bool = False) -> PaymentQuery:
        page, account = self.checkout, None
        if isinstance(page, CheckoutOpened) and page.session_id == payment.session_id:
            account = page.account
        return PaymentQuery(
            self._hold.shop_id,
            self._hold.hold_id,
            payment,
            give_back=give_back,
            find_session=find_session,
            account=account,
        )

    async def _open_first(self, request: OpenCheckout) -> None:
        await self._open(request, refused=Cancel(actor="stripe", reason=CHECKOUT_REFUSED))

    async def _open(self, request: OpenCheckout, refused: Cancel | None = None) -> CheckoutOutcome:
        """Open the session and write it to the row. `refused` is recorded if Stripe refuses it."""
        try:
            outcome = await activity_calls.open_checkout(request, self._give_up_after())
        except ActivityError as error:
            outcome = _refused(error)
        match outcome:
            case CheckoutOpened():
                payment = Payment(
                    session_id=outcome.session_id, amount_total=outcome.amount_total, currency=outcome.currency
                )
                self._state.attach(payment)
                self._state.page = payment
                self._state.opening = False
                self.page_closed = False
                self._state.changed()  # a cancel does not wait for the row to be written
                await activity_calls.attach(AttachRequest(self._hold.shop_id, self._hold.hold_id, payment))
                self._in_row = payment
            case CheckoutRefused():
                self._state.opening = False
                if refused is not None:
                    self._state.record_cancel(refused)
        if isinstance(outcome, CheckoutOpened) or refused is not None:
            self.checkout = outcome
        self._state.changed()
        return outcome

    async def close(self, *, cancelled: bool) -> None:
        """Close the payment. Returns at once if a payment or commit arrives meanwhile."""
        await workflow.wait_condition(lambda: not self._state.opening or self._state.paid)
        if self._state.attached is None or self._state.paid:
            return
        payment = self._state.attached
        query = self._query(payment, give_back=cancelled)
        failures = len(self._state.failed)
        try:
            importance = Importance.END if cancelled else Importance.EXPIRY
            check = await self._unless_paid(activity_calls.close(query, self._give_up_after(), importance))
        except ActivityError as error:
            await self._report(payment, f"Stripe did not confirm that it can no longer be paid: {cause_of(error)}")
            if self._state.attached is None or payment.is_same(self._state.attached):
                self._state.processing.clear()
                self._state.closed = True
            return
        if check is not None and not self._outdated(check, failures):
            await self._record(check, at_end=True)

    async def close_unneeded(self) -> None:
        """Close the payment of a hold that was paid elsewhere. One that was made becomes a late payment."""
        payment = self._state.attached
        if payment is None or self._state.closed:
            return
        query = self._query(payment, give_back=True)
        try:
            check = await activity_calls.close(query, self._give_up_after(), Importance.END)
        except ActivityError as error:
            await self._report(payment, f"the hold was paid elsewhere, and its page is not closed: {cause_of(error)}")
        else:
            if check.state == "paid":
                self._state.record_payment(check.payment)

    async def check(self, payment: Payment) -> None:
        """Read the payment's status from Stripe. If Stripe does not answer, closing it reads the status again."""
        if payment.id in self._state.doubtful:
            await self._find_session(payment)
            return
        failures = len(self._state.failed)
        traced = doubted(self._state, payment)
        with suppress(ActivityError):
            query = self._query(payment, find_session=traced)
            check = await self._unless_paid(activity_calls.check_payment(query))
            if check is not None:
                if self._outdated(check, failures):
                    return  # it stays unchecked
                await self._record(check, traced=traced)
        self._state.unchecked.pop(payment.id, None)

    async def _find_session(self, payment: Payment) -> None:
        """Find out on which page a payment was made. If Stripe does not answer, it is left until the hold has ended."""
        query = self._query(payment, find_session=True)
        try:
            check = await self._unless_paid(activity_calls.check_payment(query))
        except ActivityError:
            self._state.withdraw(payment)
            return
        if check is not None:
            found = replace(payment, session_id=check.payment.session_id, recovered_from=check.payment.recovered_from)
            resolve(self._state, found)

    def _outdated(self, check: PaymentCheck, failures: int) -> bool:
        """Return whether a payment failed while this status was read: then it may no longer be processing."""
        return (
            check.state == "processing" and len(self._state.failed) != failures and workflow.patched(GRACE_ENDS_EARLY)
        )

    async def attach(self, request: Attach) -> None:
        """Attach the payment that the shop opened, and answer the request."""
        try:
            answer = await self._unless_paid(self._attach(request))
        except ActivityError as error:
            answer = Attached("not_configured" if _type(error) == NOT_CONFIGURED else "away")
        if answer is None:
            return  # the hold was paid: its end is the answer
        self.attached[request] = answer
        self._state.attach_requests.remove(request)
        self._state.changed()

    async def _attach(self, request: Attach) -> Attached | None:
        payment = request.payment
        if not request.replace and await self._has_another(payment):
            return Attached("already_attached")
        check = await self._check_for_caller(payment)
        known = replace(check.payment, needs_capture=False)
        refused = _refusal(check)
        if refused is None and request.replace:
            refused = await self._close_earlier(known)
        if refused is not None:
            return Attached(refused)
        if self._state.paid:  # by the earlier payment, before it was closed
            return None
        if not await activity_calls.attach(AttachRequest(self._hold.shop_id, self._hold.hold_id, known)):
            return Attached("of_another_hold")
        self._in_row = known
        self._state.attach(known)
        self._session_expires_at = check.expires_at
        if check.state == "processing" and workflow.patched(GRACE_ENDS_EARLY):
            self._state.unchecked[known.id] = known  # an event of its failure finds the hold only from now on
        else:
            await self._record(check)
        return Attached()

    async def _has_another(self, payment: Payment) -> bool:
        """Return whether the hold has another payment that can still be made, or a session that is being opened."""
        state = self._state
        if state.opening or state.attached is None or state.attached.is_same(payment) or state.closed:
            return state.opening
        earlier = await self._check_for_caller(state.attached)
        return earlier.state not in ("unpayable", "unknown", "refunded")

    async def _close_earlier(self, payment: Payment) -> AttachRefusal | None:
        """Close the hold's earlier payment, so that this one can take its place. Returns why that is not possible."""
        state = self._state
        if state.opening:
            return "already_attached"
        if state.attached is None or state.attached.is_same(payment) or state.closed:
            return None
        return await self._close_attached(state.attached)

    async def _close_attached(self, payment: Payment) -> Literal["in_progress"] | None:
        """Close the attached payment while the hold goes on. Returns why that is not possible."""
        state = self._state
        page, state.page = state.page, None  # its end, which Stripe reports too, must not release the hold
        query = self._query(payment)
        closed = await activity_calls.close(query, self._time_for_one_of_two_calls, Importance.CHECKOUT)
        if closed.state == "processing":
            state.page = page
            state.unchecked[closed.payment.id] = closed.payment
            return "in_progress"
        await self._record(closed)
        return None

    async def clear(self, *, own_only: bool) -> tuple[ChangeRefusal | None, str | None]:
        """Close the hold's payment, so that nobody can pay any more, and take it off the hold.

        `own_only`: only a page that Holdfast opened; another payment that can still be made is left as it is. Returns
        why the payment could not be cleared, and the id of the page that was closed. If the hold was paid meanwhile,
        neither.
        """
        state, attached = self._state, self._state.attached
        if state.in_progress:
            return "in_progress", None
        try:
            refused, page = await self._unless_paid(self._clear(own_only=own_only)) or (None, None)
        except ActivityError as error:
            return "not_configured" if _type(error) == NOT_CONFIGURED else "away", None
        if refused is not None or state.paid:
            return refused, None
        if any(each.is_same(attached) for each in state.doubtful.values()) and workflow.patched(DOUBTS_UNDER_WAY):
            return "in_progress", None  # it is made, and buys the present items unless its page was closed
        if self._in_row is not None:
            await activity_calls.attach(AttachRequest(self._hold.shop_id, self._hold.hold_id, Payment()))
            self._in_row = None
        if page is None and isinstance(self.checkout, CheckoutOpened):
            page = self.checkout.session_id  # closed by an earlier attempt, which did not hear of it
        if page is not None:
            self.checkout, self.page_closed = None, True
        state.detach(attached or (None if page is None else Payment(session_id=page)))
        return None, page

    async def _clear(self, *, own_only: bool) -> tuple[ChangeRefusal | None, str | None]:
        state, page = self._state, self._open_page
        if state.attached is None or state.closed:
            return None, None
        if page is None and own_only:
            check = await self._check_for_caller(state.attached)
            if check.state not in ("open", "processing"):
                await self._record(check)
                return None, None
            if not check.is_page:
                return "payment_open", None
            page = check.payment.session_id  # opened by a run that was lost
        return await self._close_attached(state.attached), page

    @property
    def _open_page(self) -> str | None:
        """The id of the page that Holdfast opened, if it is the attached payment and can still be made."""
        page, attached = self.checkout, self._state.attached
        if not isinstance(page, CheckoutOpened) or attached is None or self._state.closed:
            return None
        return page.session_id if attached.session_id == page.session_id else None

    async def _check_for_caller(self, payment: Payment) -> PaymentCheck:
        query = self._query(payment)
        return await activity_calls.check_payment(query, self._time_for_one_of_two_calls)

    @property
    def _time_for_one_of_two_calls(self) -> timedelta:
        """How long a call to Stripe may take, so that two fit into the request, even without an answer."""
        return timedelta(milliseconds=self._hold.request_timeout_ms) * 0.4

    async def capture(self, payment: Payment) -> None:
        """Capture the payment that bought the hold. If Stripe refuses, the hold stays committed, with an alert."""
        try:
            await activity_calls.capture(self._query(payment))
        except ActivityError as error:
            await self._report(
                payment,
                f"the hold is committed but the payment could not be captured: {cause_of(error)}",
            )

    def is_outdated(self, request: Attach) -> bool:
        """Return whether the answer to an attach request has to be found anew: it was refused, or replaced since."""
        answer = self.attached.get(request)
        if answer is None:
            return False
        if answer.refused is not None:
            return True  # the reason may no longer hold
        return not request.payment.is_same(self._state.attached) and workflow.patched(ATTACHES_ANEW)

    async def stop_opening(self) -> None:
        """Stop opening the session: nobody has its URL yet, so nobody can pay on it."""
        if self._opening is not None:
            await activity_calls.cancel(self._opening)

    async def _record(self, check: PaymentCheck, *, at_end: bool = False, traced: bool = False) -> None:
        """Record what Stripe said. `traced`: of which session the payment is, and of which page that is a copy."""
        state, payment = self._state, check.payment
        match check.state:
            case "paid" | "authorized":
                made = replace(payment, needs_capture=check.state == "authorized")
                await self._record_made(made, at_end=at_end, traced=traced)
            case "processing":
                await self._record_processing(check, at_end=at_end)
            case "unpayable" | "refunded":
                state.record_unpayable(payment)
            case "unknown":
                await self._report(payment, "Stripe has no such payment; it counts as one that cannot be made")
                state.record_unpayable(payment)
            case "open" if traced:
                state.record_traced_open(payment)
            case "open":
                pass

    async def _record_made(self, payment: Payment, *, at_end: bool, traced: bool) -> None:
        state = self._state
        if traced:
            state.resolve_doubt(payment)
        elif not doubted(state, payment):
            state.record_payment(payment)
        else:
            state.record_doubted(payment)
            if at_end and payment.id in state.doubtful:  # otherwise the hold would end before its page is known
                await self._find_session(payment)

    async def _record_processing(self, check: PaymentCheck, *, at_end: bool) -> None:
        state, payment = self._state, check.payment
        if state.is_for_earlier_items(payment) and workflow.patched(DOUBTS_UNDER_WAY):
            state.end_wait_for(payment)
            return
        state.record_processing(PaymentProcessing(payment, check.grace_seconds), workflow.now())
        if at_end and workflow.now() >= state.processing[payment.id]:
            await self._report(payment, "it is still processing at the end of its grace period; the stock is released")
            state.processing.pop(payment.id)
            state.closed = True

    async def _unless_paid(self, work: Awaitable[Answer]) -> Answer | None:
        """Return the result of the work, or None as soon as a payment or commit has arrived."""
        task = asyncio.ensure_future(work)
        return await task if await activity_calls.finishes_before(task, lambda: self._state.paid) else None

    def _give_up_after(self) -> timedelta:
        """Return how long Stripe may be unavailable before the hold ends without its confirmation."""
        now = workflow.now()
        left = max(self._session_expires_at or now, now) - now
        return left + max(timedelta(seconds=self._hold.close_grace_seconds), _MIN_GRACE)

    async def _report(self, payment: Payment, problem: str) -> None:
        await activity_calls.report_trouble(PaymentTrouble(self._hold.shop_id, self._hold.hold_id, payment.id, problem))


def _refusal(check: PaymentCheck) -> AttachRefusal | None:
    """Return why a payment with this status cannot be attached."""
    if check.of_another_hold:
        return "of_another_hold"
    if check.state == "unknown":
        return "unknown"
    return "unpayable" if check.state in ("unpayable", "refunded") else None


def _refused(error: ActivityError) -> CheckoutRefused:
    if _type(error) == NOT_CONFIGURED:
        return CheckoutRefused("STRIPE_API_KEY is not set for the worker.", code=NOT_CONFIGURED)
    return CheckoutRefused(f"Stripe did not answer in time: {cause_of(error)}", code="timeout")


def _type(error: ActivityError) -> str | None:
    return error.cause.type if isinstance(error.cause, ApplicationError) else None
