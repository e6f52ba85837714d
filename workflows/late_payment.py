"""LatePaymentWorkflow: a payment for a hold that it did not buy reserves the stock again, or is refunded."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from workflows import activity_calls, ui_text
from workflows.activity_calls import cause_of
from workflows.cancellation import run_despite_cancellation
from workflows.checked_messages import checked_signal
from workflows.hold_signals import HoldSignals
from workflows.messages import hold_workflow_id
from workflows.patches import LATE_PAYMENT_CONTINUES
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
from workflows.run_details import RunDetails

Answer = TypeVar("Answer")

_CLAIM_INTERVAL = timedelta(minutes=1)
_REFUND_INTERVAL = timedelta(hours=6)
"""The pause after a refund that Stripe refused, for example because the account's balance is too low."""

CANCELLED = "Request Cancellation stopped this case: look at the hold and the payment, and settle it by hand."
KEEP_MONEY = "The policy is to keep the money: offer a replacement, or refund by hand."
NO_SUCH_HOLD = "The database has no such hold."
NOTHING_TO_REFUND = "There is nothing to refund"
REFUND_FAILED = "The refund failed and the money is back in the account: refund it in another way."
REFUND_REFUSED = "Stripe refused the refund"
PAID_ELSEWHERE = "The shop sold the hold as paid elsewhere: find out whether to refund this payment or the other one."
SOLD_IN_PART = "The shop sold only some of the hold's units: find out what the money is for, and settle it by hand."
CHANGED = (
    "The payment was under way while its page was closed for a change of the hold: the money is for the items that the "
    "hold had before. Offer those, or refund by hand."
)
UNKNOWN_PAYMENT = "Stripe does not know this payment."
"""Why a case needs a person."""
_FOR_A_PERSON = {"sold_in_part": SOLD_IN_PART, "changed": CHANGED, "missing": NO_SUCH_HOLD}


class _ClosedByPersonError(Exception):
    pass


class _CancelledInTemporalError(Exception):
    pass


@workflow.defn(name="LatePaymentWorkflow")
class LatePaymentWorkflow(RunDetails):
    """Handles one late payment until it is settled, however long that takes. The signal `close` ends it by hand."""

    @workflow.init
    def __init__(self, late: LatePayment) -> None:
        self._late = late
        self._closed_by: CloseCase | None = None
        self._cancelled = False
        self._refund_failed = late.refund_failed
        self._state = "Checking the payment."
        self._waits_for_person = False

    @workflow.run
    async def run(self, late: LatePayment) -> LatePaymentEnded:
        """Check the payment and the hold, then sell the stock or refund the money."""
        del late  # __init__ has it
        return await run_despite_cancellation(self._run(), self._note_cancellation)

    async def _run(self) -> LatePaymentEnded:
        try:
            ended = await self._resolve_or_need_person()
        except _ClosedByPersonError:
            assert self._closed_by is not None  # noqa: S101 - narrows the type
            ended = LatePaymentEnded("closed_by_person", f"{self._closed_by.actor}: {self._closed_by.note}")
            await self._report(ended.outcome, ended.detail)
        self._show(f"Ended: {ended.outcome}. {ended.detail}")
        return ended

    async def _resolve_or_need_person(self) -> LatePaymentEnded:
        try:
            ended = await self._resolve()
        except _CancelledInTemporalError:
            return await self._need_person(CANCELLED)
        # The signal may arrive during any step above.
        return await self._need_person(REFUND_FAILED) if self._refund_failed else ended

    async def _resolve(self) -> LatePaymentEnded:
        if self._refund_failed:
            return await self._need_person(REFUND_FAILED)
        if self._late.payment.payment_intent_id is None:
            return await self._claim(authorized=False)  # the total is 0, so there is no PaymentIntent
        try:
            query = replace(self._query(), find_session=True)
            standing = await self._unless_stopped(activity_calls.check_payment_until_known(query))
        except ActivityError as error:
            return await self._need_person(f"The payment could not be checked: {cause_of(error)}")
        if standing.payment.session_id is not None:
            self._late = replace(self._late, payment=standing.payment)
        match standing.state:
            case "paid" | "authorized":
                return await self._claim(authorized=standing.state == "authorized")
            case "unknown":
                return await self._need_person(UNKNOWN_PAYMENT)
            case _:
                return _nothing_to_do(standing)

    async def _claim(self, *, authorized: bool) -> LatePaymentEnded:
        while True:
            self._show("Checking whether the stock is still available.")
            claimed = await self._unless_stopped(activity_calls.claim(self._late))
            match claimed.outcome:
                case "already":
                    await self._capture(authorized=authorized)
                    return LatePaymentEnded("already", "The hold was committed by this payment.")
                case "recorded":
                    await self._capture(authorized=authorized)
                    return await self._end("recorded", "The shop had committed the hold; this is its payment.")
                case "reacquired":
                    await self._capture(authorized=authorized)
                    return await self._end("reacquired", "The stock was still available: the hold is committed.")
                case "second_payment" | "short" | "declined":
                    return await self._refund(claimed)
                case "sold_in_part" | "changed" | "missing":
                    return await self._need_person(_unclear(claimed))
                case "active":
                    if await self._hand_over(authorized=authorized):
                        return LatePaymentEnded("handed_over", "The hold is active: its workflow handles the payment.")
                    await self._pause(_CLAIM_INTERVAL)  # its workflow is missing; the audit resumes it
                    self._continue_as_new_if_long()

    def _continue_as_new_if_long(self) -> None:
        """Begin a new run before Temporal terminates this one, whose history grows every minute.

        A run from before this patch may have passed the suggested length already: its replay must not continue.
        A close or a cancellation that has just arrived is handled first: the new run would not know of it.
        """
        suggested = workflow.info().is_continue_as_new_suggested()
        stopping = self._is_stopped() or workflow.cancellation_reason() is not None
        if suggested and not stopping and workflow.patched(LATE_PAYMENT_CONTINUES):
            workflow.continue_as_new(replace(self._late, refund_failed=self._refund_failed))

    async def _hand_over(self, *, authorized: bool) -> bool:
        hold = workflow.get_external_workflow_handle(hold_workflow_id(self._late.shop_id, self._late.hold_id))
        payment = replace(self._late.payment, needs_capture=authorized)
        try:
            await hold.signal(HoldSignals.payment_succeeded, payment)
        except ApplicationError:
            return False
        return True

    async def _refund(self, claimed: Claimed) -> LatePaymentEnded:
        why = "another payment paid for the hold" if claimed.outcome == "second_payment" else "the stock is gone"
        if claimed.keep_money and claimed.outcome != "second_payment":
            return await self._need_person(KEEP_MONEY)
        if self._late.payment.payment_intent_id is None:
            return await self._need_person(f"{NOTHING_TO_REFUND}, and {why}: inform the shopper.")
        reported = False
        while True:
            self._show(f"Refunding the payment: {why}.")
            try:
                await self._unless_stopped(activity_calls.refund_or_cancel(self._query()))
            except ActivityError as error:
                problem = f"{REFUND_REFUSED}: {cause_of(error)}"
                self._show(f"{problem} Retried every 6 hours. If it was refunded by hand, send the signal `close`.")
                if not reported:
                    await self._report("needs_person", problem)
                reported = True
                await self._pause(_REFUND_INTERVAL)
            else:
                return await self._end("refunded", f"The payment was refunded: {why}.")

    async def _capture(self, *, authorized: bool) -> None:
        if not authorized:
            return
        try:
            await self._unless_stopped(activity_calls.capture(self._query()))
        except ActivityError as error:
            await self._report("needs_person", f"The hold is committed, but the capture failed: {cause_of(error)}")

    async def _need_person(self, why: str) -> LatePaymentEnded:
        await self._report("needs_person", why)
        self._waits_for_person = True
        self._show(f"Waiting for a person. {why} When it is done, send the signal `close`.")
        await workflow.wait_condition(lambda: self._closed_by is not None)
        raise _ClosedByPersonError

    async def _end(self, outcome: LateOutcome, detail: str) -> LatePaymentEnded:
        await self._report(outcome, detail)
        return LatePaymentEnded(outcome, detail)

    async def _report(self, outcome: LateOutcome, detail: str) -> None:
        await activity_calls.report_late_payment(LatePaymentReport(self._late, outcome, detail))

    async def _pause(self, duration: timedelta) -> None:
        with suppress(TimeoutError):
            await workflow.wait_condition(self._is_stopped, timeout=duration)
            raise self._stop()

    async def _unless_stopped(self, work: Awaitable[Answer]) -> Answer:
        """Return the result; if a person closes or cancels the case first, cancel the work and raise that."""
        task = asyncio.ensure_future(work)
        if not await activity_calls.finishes_before(task, self._is_stopped):
            raise self._stop()
        return await task

    def _is_stopped(self) -> bool:
        return self._closed_by is not None or self._cancelled

    def _stop(self) -> Exception:
        return _ClosedByPersonError() if self._closed_by is not None else _CancelledInTemporalError()

    def _note_cancellation(self) -> None:
        """Leave the case to a person, as a cancellation requested in Temporal says; only `close` ends it."""
        self._cancelled = True
        workflow.logger.warning("Request Cancellation: the case is left to a person unless it is settled already.")

    def _query(self) -> PaymentQuery:
        return PaymentQuery(self._late.shop_id, self._late.hold_id, self._late.payment)

    def _show(self, state: str) -> None:
        self._state = state
        self.show_step(ui_text.plain(state))

    @checked_signal(
        description='Settled by hand. Data: {"actor": "your name", "note": "what was done"}',
        without_data=CloseCase(actor="temporal", note="no note"),
    )
    def close(self, message: CloseCase) -> None:
        """End the case: a person has settled it."""
        self._closed_by = self._closed_by or message

    @checked_signal(description="Stripe: the refund of this payment failed")
    def refund_failed(self) -> None:
        """Leave the case to a person: the refunded money is back in the account."""
        self._refund_failed = True

    @workflow.query(description="The current step, for people")
    def state(self) -> str:
        """Return a sentence."""
        return self._state

    @workflow.query(description="Whether the case waits for a person")
    def waits_for_person(self) -> bool:
        """Return whether nothing more happens until the signal `close`."""
        return self._waits_for_person


def _unclear(claimed: Claimed) -> str:
    if claimed.paid_elsewhere and claimed.outcome == "sold_in_part":
        return PAID_ELSEWHERE
    return _FOR_A_PERSON[claimed.outcome]


def _nothing_to_do(standing: PaymentCheck) -> LatePaymentEnded:
    if standing.state == "refunded":
        return LatePaymentEnded("already", "The payment was refunded already.")
    return LatePaymentEnded("not_paid", f"The payment is {standing.state}: no money was taken.")
