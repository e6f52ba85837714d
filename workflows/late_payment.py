"""LatePaymentWorkflow: money that came for a hold which it did not buy takes the stock again, or goes back."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from domain.payments import Payment
from workflows import activity_calls, ui_text
from workflows.hold_signals import HoldSignals
from workflows.messages import hold_workflow_id
from workflows.payment_messages import (
    Claimed,
    CloseCase,
    LateOutcome,
    LatePayment,
    LatePaymentEnded,
    LatePaymentReport,
    PaymentCheck,
    PaymentQuery,
)

Answer = TypeVar("Answer")

_ASK_AGAIN = timedelta(minutes=1)
_TRY_AGAIN = timedelta(hours=6)
"""How long until a refund is tried anew that Stripe refused, for want of balance for one."""

_REFUND_FAILED = "The refund failed and the money came back: give it back another way."


class _ClosedByPersonError(Exception):
    pass


@workflow.defn(name="LatePaymentWorkflow")
class LatePaymentWorkflow:
    """Sees one late payment to its end, however long it takes. A person can end it by hand with the signal `close`."""

    @workflow.init
    def __init__(self, late: LatePayment) -> None:
        self._late = late
        self._by_person: CloseCase | None = None
        self._refund_failed = late.refund_failed
        self._now = "Looking at the payment."

    @workflow.run
    async def run(self, late: LatePayment) -> LatePaymentEnded:
        """Look at the payment and the hold, and bring both in order."""
        del late  # __init__ has it
        try:
            ended = await self._resolve()
            if self._refund_failed:  # Stripe's word on that may come while the case has not ended yet
                ended = await self._need_person(_REFUND_FAILED)
        except _ClosedByPersonError:
            assert self._by_person is not None  # noqa: S101 - narrows the type
            ended = LatePaymentEnded("closed_by_person", f"{self._by_person.actor}: {self._by_person.note}")
            await self._report(ended.outcome, ended.detail)
        self._show(f"Ended: {ended.outcome}. {ended.detail}")
        return ended

    async def _resolve(self) -> LatePaymentEnded:
        if self._refund_failed:
            return await self._need_person(_REFUND_FAILED)
        if self._late.payment.payment_intent_id is None:
            return await self._claim(authorized=False)  # it cost nothing, so there is nothing to look at
        try:
            standing = await self._work(activity_calls.check_payment_until_known(self._query()))
        except ActivityError as error:
            return await self._need_person(f"Stripe could not be asked: {_cause(error)}")
        match standing.state:
            case "paid" | "authorized":
                return await self._claim(authorized=standing.state == "authorized")
            case "unknown":
                return await self._need_person("Stripe does not know this payment.")
            case _:
                return _nothing_to_do(standing)

    async def _claim(self, *, authorized: bool) -> LatePaymentEnded:
        while True:
            self._show("Looking whether the stock is still there.")
            claimed = await self._work(activity_calls.claim(self._late))
            match claimed.outcome:
                case "already":
                    await self._capture(authorized=authorized)
                    return LatePaymentEnded("already", "The hold was bought by this very payment.")
                case "recorded":
                    await self._capture(authorized=authorized)
                    return await self._end("recorded", "The shop had sold the hold; this is its payment.")
                case "reacquired":
                    await self._capture(authorized=authorized)
                    return await self._end("reacquired", "The stock was still there: the hold is sold.")
                case "second_payment" | "short" | "declined":
                    return await self._give_back(claimed)
                case "missing":
                    return await self._need_person("The database has no such hold.")
                case "active":
                    if await self._handed_over(authorized=authorized):
                        return LatePaymentEnded("handed_over", "The hold is active: its workflow has the payment.")
                    await self._pause(_ASK_AGAIN)  # it has no run at the moment; the audit gives it one

    async def _handed_over(self, *, authorized: bool) -> bool:
        hold = workflow.get_external_workflow_handle(hold_workflow_id(self._late.shop_id, self._late.hold_id))
        payment = Payment(self._late.payment.payment_intent_id, self._late.payment.session_id, authorized)
        try:
            await hold.signal(HoldSignals.payment_succeeded, payment)
        except ApplicationError:
            return False
        return True

    async def _give_back(self, claimed: Claimed) -> LatePaymentEnded:
        why = "another payment bought the hold" if claimed.outcome == "second_payment" else "the stock is gone"
        if claimed.keep_money and claimed.outcome != "second_payment":
            return await self._need_person("The policy keeps the money: sell something else, or refund it by hand.")
        if self._late.payment.payment_intent_id is None:
            return await self._need_person(f"There is no money to give back, and {why}: tell the shopper.")
        reported = False
        while True:
            self._show(f"Giving the money back: {why}.")
            try:
                await self._work(activity_calls.refund_or_cancel(self._query()))
            except ActivityError as error:
                problem = f"Stripe will not give the money back: {_cause(error)}"
                self._show(f"{problem} Tried again every 6 hours. Refunded by hand? Send the signal `close`.")
                if not reported:
                    await self._report("needs_person", problem)
                reported = True
                await self._pause(_TRY_AGAIN)
            else:
                return await self._end("refunded", f"The money was given back: {why}.")

    async def _capture(self, *, authorized: bool) -> None:
        if not authorized:
            return
        try:
            await self._work(activity_calls.capture(self._query()))
        except ActivityError as error:
            await self._report("needs_person", f"the hold is sold and its money could not be captured: {_cause(error)}")

    async def _need_person(self, why: str) -> LatePaymentEnded:
        await self._report("needs_person", why)
        self._show(f"Waiting for a person. {why} When it is done, send the signal `close`.")
        await workflow.wait_condition(lambda: self._by_person is not None)
        raise _ClosedByPersonError

    async def _end(self, outcome: LateOutcome, detail: str) -> LatePaymentEnded:
        await self._report(outcome, detail)
        return LatePaymentEnded(outcome, detail)

    async def _report(self, outcome: LateOutcome, detail: str) -> None:
        await activity_calls.report_late_payment(LatePaymentReport(self._late, outcome, detail))

    async def _pause(self, duration: timedelta) -> None:
        with suppress(TimeoutError):
            await workflow.wait_condition(lambda: self._by_person is not None, timeout=duration)
            raise _ClosedByPersonError

    async def _work(self, work: Awaitable[Answer]) -> Answer:
        """Return what the work returns, unless a person closes the case first."""
        task = asyncio.ensure_future(work)
        await workflow.wait_condition(lambda: task.done() or self._by_person is not None)
        if task.done():
            return await task
        task.cancel()
        with suppress(asyncio.CancelledError, ActivityError):
            await task
        raise _ClosedByPersonError

    def _query(self) -> PaymentQuery:
        return PaymentQuery(self._late.shop_id, self._late.hold_id, self._late.payment)

    def _show(self, what: str) -> None:
        self._now = what
        workflow.set_current_details(ui_text.plain(what))

    @workflow.signal(description='Done by hand. Data: {"actor": "your name", "note": "what was done"}')
    def close(self, message: CloseCase) -> None:
        """End the case: a person has seen to it."""
        self._by_person = self._by_person or message

    @workflow.signal(description="Stripe: the refund of this payment failed")
    def refund_failed(self) -> None:
        """Leave the case to a person: the money that was given back has come back."""
        self._refund_failed = True

    @workflow.query(description="What is being done about this payment")
    def state(self) -> str:
        """Answer in a sentence."""
        return self._now


def _nothing_to_do(standing: PaymentCheck) -> LatePaymentEnded:
    if standing.state == "refunded":
        return LatePaymentEnded("already", "The money was given back already.")
    return LatePaymentEnded("not_paid", f"The payment is {standing.state}: no money was taken.")


def _cause(error: ActivityError) -> str:
    return str(error.cause or error)
