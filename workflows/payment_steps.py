"""What a hold's workflow does about its payment: open it, look at it, attach it, close it, capture it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from domain.payments import Payment
from workflows import activity_calls
from workflows.decision import Facts
from workflows.messages import Attach, Attached, AttachRequest, Cancel, HoldInput
from workflows.payment_messages import (
    CheckoutOpened,
    CheckoutOutcome,
    CheckoutRefused,
    OpenCheckout,
    PaymentProcessing,
    PaymentQuery,
    PaymentStanding,
    PaymentTrouble,
)
from workflows.ports import NOT_CONFIGURED

Answer = TypeVar("Answer")

_SHORTEST_SESSION = timedelta(minutes=35)
"""Stripe wants 30 from the moment it gets the call; the rest is for clocks that differ and a call that is late."""
_LONGEST_SESSION = timedelta(hours=24) - timedelta(minutes=5)
_BEHIND_THE_HOLD = timedelta(minutes=5)
_AT_LEAST = timedelta(minutes=5)
"""The longest pause between two attempts: an activity is given up as soon as the next one would come too late, and one
has to come after the session has ended."""
CHECKOUT_REFUSED = "checkout_refused"


class Paying:
    """The payment's side of one hold. What it learns goes into the facts, of which `decide` makes the next step."""

    def __init__(self, hold: HoldInput, facts: Facts, heard: Callable[[], None]) -> None:
        self._hold = hold
        self._facts = facts
        self._heard = heard
        self._session_ends: datetime | None = None
        self._opening: asyncio.Task[None] | None = None
        self.checkout: CheckoutOutcome | None = None
        self.attached: dict[Attach, Attached] = {}
        """The answers to those who asked to attach."""

    def begin_checkout(self, created_at: datetime) -> None:
        """Open the Checkout Session beside whatever else happens; there may be one from here on."""
        if self._hold.checkout is None:
            return
        self._facts.opening = True
        self._opening = asyncio.create_task(self._open(created_at))

    async def _open(self, created_at: datetime) -> None:
        assert self._hold.checkout is not None  # noqa: S101 - narrows the type
        ceiling = timedelta(seconds=self._hold.max_ttl_seconds)
        ends = created_at + min(max(_SHORTEST_SESSION, ceiling + _BEHIND_THE_HOLD), _LONGEST_SESSION)
        self._session_ends = ends
        request = OpenCheckout(
            self._hold.shop_id, self._hold.hold_id, self._hold.checkout.params, expires_at=ends, begun_at=created_at
        )
        try:
            outcome = await activity_calls.open_checkout(request, self._give_up_after())
        except ActivityError as error:
            outcome = _refused(error)
        match outcome:
            case CheckoutOpened(session_id):
                payment = Payment(session_id=session_id)
                self._facts.attach(payment)
                self._facts.opening = False
                self._heard()  # a cancel need not wait until the row is written
                await activity_calls.attach(AttachRequest(self._hold.shop_id, self._hold.hold_id, payment))
            case CheckoutRefused():
                self._facts.opening = False
                self._facts.hear_cancel(Cancel(actor="stripe", reason=CHECKOUT_REFUSED))
        self.checkout = outcome
        self._heard()

    async def close(self, *, give_back: bool) -> None:
        """Close the payment, unless the hold is sold meanwhile: then nothing is waited for."""
        await workflow.wait_condition(lambda: not self._facts.opening or self._facts.paid)
        if self._facts.attached is None or self._facts.paid:
            return
        payment = self._facts.attached
        query = PaymentQuery(self._hold.shop_id, self._hold.hold_id, payment, give_back)
        try:
            standing = await self._unless_sold(activity_calls.close(query, self._give_up_after()))
        except ActivityError as error:
            await self._report(payment, f"Stripe did not say whether it can still be paid: {_cause(error)}")
            self._facts.processing.clear()
            self._facts.closed = True
            return
        if standing is not None:
            await self._take_note(standing, at_the_end=True)

    async def look(self, payment: Payment) -> None:
        """Ask Stripe how a payment stands. Where it does not say, the closing will ask again."""
        with suppress(ActivityError):
            standing = await self._unless_sold(
                activity_calls.look(PaymentQuery(self._hold.shop_id, self._hold.hold_id, payment))
            )
            if standing is not None:
                await self._take_note(standing)
        self._facts.in_doubt.pop(payment.id, None)

    async def attach(self, asked: Attach) -> None:
        """Make the payment that the shop opened the hold's, and answer those who asked."""
        try:
            answer = await self._unless_sold(self._attach(asked.payment))
        except ActivityError as error:
            answer = Attached("not_configured" if _type(error) == NOT_CONFIGURED else "away")
        if answer is None:
            return  # the end of the hold is the answer
        self.attached[asked] = answer
        self._facts.to_attach.remove(asked)
        self._heard()

    async def _attach(self, payment: Payment) -> Attached:
        if await self._has_another(payment):
            return Attached("already_attached")
        standing = await self._look_while_asked(payment)
        if standing.of_another_hold:
            return Attached("of_another_hold")
        if standing.state == "unknown":
            return Attached("unknown")
        if standing.state in ("unpayable", "refunded"):
            return Attached("unpayable")
        known = Payment(standing.payment.payment_intent_id, standing.payment.session_id)
        if not await activity_calls.attach(AttachRequest(self._hold.shop_id, self._hold.hold_id, known)):
            return Attached("of_another_hold")
        self._facts.attach(known)
        self._session_ends = standing.expires_at
        await self._take_note(standing)
        return Attached()

    async def _has_another(self, payment: Payment) -> bool:
        """Tell whether the hold has another payment that can still be made, or a page that is being opened."""
        facts = self._facts
        if facts.opening or facts.attached is None or facts.attached.is_same(payment) or facts.closed:
            return facts.opening
        first = await self._look_while_asked(facts.attached)
        return first.state not in ("unpayable", "unknown", "refunded")

    async def _look_while_asked(self, payment: Payment) -> PaymentStanding:
        """Look at a payment for somebody who waits: two looks leave time for the answer, be it that Stripe is away."""
        within = timedelta(milliseconds=self._hold.request_timeout_ms) * 0.4
        return await activity_calls.look(PaymentQuery(self._hold.shop_id, self._hold.hold_id, payment), within)

    async def capture(self, payment: Payment) -> None:
        """Take the money of the payment that bought the hold. The hold stays sold where Stripe will not."""
        try:
            await activity_calls.capture(PaymentQuery(self._hold.shop_id, self._hold.hold_id, payment))
        except ActivityError as error:
            await self._report(payment, f"the hold is sold and its money could not be captured: {_cause(error)}")

    async def leave(self) -> None:
        """End with nothing under way: a session whose address nobody has heard by now is one that nobody pays on."""
        if self._opening is not None:
            self._opening.cancel()
            with suppress(asyncio.CancelledError, ActivityError):
                await self._opening

    async def _take_note(self, standing: PaymentStanding, *, at_the_end: bool = False) -> None:
        facts, payment = self._facts, standing.payment
        match standing.state:
            case "paid":
                facts.hear_payment(payment)
            case "authorized":
                facts.hear_payment(Payment(payment.payment_intent_id, payment.session_id, needs_capture=True))
            case "processing":
                facts.hear_processing(PaymentProcessing(payment, standing.grace_seconds), workflow.now())
                if at_the_end and workflow.now() >= facts.processing[payment.id]:
                    await self._report(
                        payment, "it is still under way at the end of its grace; the stock is given back"
                    )
                    facts.processing.pop(payment.id)
                    facts.closed = True
            case "unpayable" | "refunded":
                facts.hear_unpayable(payment)
            case "unknown":
                await self._report(payment, "Stripe does not know it, so it counts as one that nobody can make")
                facts.hear_unpayable(payment)
            case "open":
                pass

    async def _unless_sold(self, work: Awaitable[Answer]) -> Answer | None:
        """Return what the work returns, or None as soon as something has come that sells the hold."""
        task = asyncio.ensure_future(work)
        await workflow.wait_condition(lambda: task.done() or self._facts.paid)
        if task.done():
            return await task
        task.cancel()
        with suppress(asyncio.CancelledError, ActivityError):
            await task
        return None

    def _give_up_after(self) -> timedelta:
        """Return how long Stripe may be away before the hold ends without its word."""
        now = workflow.now()
        left = max(self._session_ends or now, now) - now
        return left + max(timedelta(seconds=self._hold.close_grace_seconds), _AT_LEAST)

    async def _report(self, payment: Payment, problem: str) -> None:
        await activity_calls.report_trouble(PaymentTrouble(self._hold.shop_id, self._hold.hold_id, payment.id, problem))


def _refused(error: ActivityError) -> CheckoutRefused:
    if _type(error) == NOT_CONFIGURED:
        return CheckoutRefused("STRIPE_API_KEY is not set for the worker.", code=NOT_CONFIGURED)
    return CheckoutRefused(f"Stripe did not answer in time: {_cause(error)}", code="timeout")


def _type(error: ActivityError) -> str | None:
    return error.cause.type if isinstance(error.cause, ApplicationError) else None


def _cause(error: ActivityError) -> str:
    return str(error.cause or error)
