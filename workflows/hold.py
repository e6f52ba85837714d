"""HoldWorkflow: one checkout's hold, from its reserve to the one end that it has."""

import asyncio
from datetime import datetime, timedelta
from typing import assert_never

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from domain.holds import Held, HoldStatus, ReserveOutcome, ReserveRequest
from domain.payments import Payment
from workflows import activity_calls, ui_text
from workflows.closing import leave_nothing_unanswered
from workflows.decision import AttachNext, Close, Expire, Facts, GiveBack, Look, Sell, Wait, decide
from workflows.extensions import Extensions
from workflows.hold_signals import HoldSignals
from workflows.messages import (
    HOLD_EXPIRES_AT,
    HOLD_EXTEND_LIMIT,
    HOLD_NOT_ACTIVE,
    HOLD_STATUS,
    IDEMPOTENCY_CONFLICT,
    Attach,
    Attached,
    Cancel,
    CheckoutAnswer,
    Commit,
    DeadlineRequest,
    Ended,
    EndedHold,
    EndStatus,
    Extend,
    Extended,
    HoldInput,
    SettledStatus,
    SettleRequest,
    Snapshot,
    settled_status,
)
from workflows.payment_messages import PaymentFailed, PaymentProcessing
from workflows.payment_steps import Paying


@workflow.defn(name="HoldWorkflow")
class HoldWorkflow(HoldSignals):
    """Holds stock, waits for messages with a durable timer, and ends the hold exactly once."""

    @workflow.init
    def __init__(self, hold: HoldInput) -> None:
        """Make the facts at once: an update's handler can run before the first line of `run`."""
        self._hold = hold
        self._created_at = workflow.now()
        self._facts = Facts(deadline=self._created_at + timedelta(seconds=hold.ttl_seconds))
        if hold.ended_before == "committed":
            self._facts.commit = Commit(actor="audit", reason="restored")
        elif hold.ended_before == "released":
            self._facts.hear_cancel(Cancel(actor="audit", reason="restored"))
        self._heard = 0
        self._paying = Paying(hold, self._facts, self._hear)
        self._reservation: ReserveOutcome | None = None
        self._written_deadline: datetime | None = None
        self._extensions = Extensions()
        self._ending: str | None = None
        self._ended: EndStatus | None = None
        self._ended_hold: EndedHold | None = None
        self._bought_by: Payment | None = None

    @workflow.run
    async def run(self, hold: HoldInput) -> Ended:
        """Live the hold. A cancel from the Temporal UI is caught here, and only here: it is one more fact."""
        del hold  # __init__ has it
        life = asyncio.create_task(self._live())
        while True:
            try:
                return await asyncio.shield(life)
            except asyncio.CancelledError:
                if workflow.cancellation_reason() is None or life.done():
                    raise  # not asked for from outside: this run leaves the worker's cache
                self._hear_cancel_from_outside()
                self._hear()

    def _hear(self) -> None:
        self._heard += 1

    def _hear_cancel_from_outside(self) -> None:
        """Note a cancel that Temporal was asked for, which reaches `run` some steps later than a message would."""
        if workflow.cancellation_reason() is not None:
            self._facts.hear_cancel(Cancel(actor="temporal", reason="cancelled_in_temporal"))

    async def _live(self) -> Ended:
        self._show("Taking the stock.")
        self._reservation = await self._reserve()
        if not isinstance(self._reservation, Held):
            ended: EndStatus = "rejected"
            self._show(ui_text.refusal(self._reservation))
        elif self._reservation.status is HoldStatus.ACTIVE:
            self._adopt(self._reservation)
            self._paying.begin_checkout(self._created_at)
            ended = await self._wait_and_settle()
        else:
            self._show(ui_text.refusal(self._reservation))
            ended = settled_status(self._reservation.status)
            self._bought_by = self._reservation.payment if ended == "committed" else None
        self._ended = ended
        workflow.upsert_search_attributes([HOLD_STATUS.value_set(ended)])
        await leave_nothing_unanswered(self._hold, self._facts, self._paying, self._bought_by)
        return Ended(ended)

    async def _reserve(self) -> ReserveOutcome:
        request = ReserveRequest(
            shop_id=self._hold.shop_id,
            hold_id=self._hold.hold_id,
            lines=self._hold.lines,
            created_at=self._created_at,
            expires_at=self._facts.deadline,
            # From the moment the server took the start, not from this first task: after an outage of the workers
            # the callers are long gone.
            reserve_before=workflow.info().workflow_start_time + timedelta(milliseconds=self._hold.request_timeout_ms),
            reference=self._hold.reference,
            request_hash=self._hold.request_hash,
        )
        self._written_deadline = request.expires_at
        return await activity_calls.reserve(request)

    def _adopt(self, held: Held) -> None:
        """Go by the row's times: they differ from this run's where the hold is older than the run.

        They also differ when the run is replayed after its first task was done in pieces: what `workflow.now` said
        then is only known from the recorded answer, so nothing may be decided by the difference.
        """
        self._created_at = held.created_at
        self._written_deadline = held.expires_at
        self._facts.deadline = max([held.expires_at, *self._facts.processing.values()])
        if held.payment is not None and self._facts.attached is None:
            self._facts.attach(held.payment)

    @property
    def _ceiling(self) -> datetime:
        return self._created_at + timedelta(seconds=self._hold.max_ttl_seconds)

    async def _wait_and_settle(self) -> EndStatus:
        while True:
            self._hear_cancel_from_outside()
            if not self._facts.paid and self._facts.cancel is None:
                # Not before: a run that goes on with an older hold knows its deadline only from the row.
                self._facts.deadline = self._extensions.take_up(self._facts.deadline, self._ceiling)
            heard = self._heard
            match decide(self._facts, workflow.now()):
                case Sell(actor, reason, payment):
                    return await self._settle("committed", reason, actor, payment)
                case GiveBack(actor, reason):
                    return await self._settle("released", reason, actor)
                case Expire():
                    why = "orphaned" if self._hold.orphaned else "deadline"
                    return await self._settle("expired", why, "holdfast")
                case Close() | AttachNext() | Look() as step:
                    await self._see_to_payment(step)
                case Wait() if self._facts.deadline != self._written_deadline:
                    await self._write_deadline(self._facts.deadline)
                case Wait(until):
                    noted = " A cancel is noted and waits for the payment under way." if self._facts.cancel else ""
                    self._show(f"Waiting for the payment until {until:%Y-%m-%d %H:%M:%S} UTC; then it expires.{noted}")
                    await self._sleep(until, heard)
                case outcome:
                    assert_never(outcome)

    async def _see_to_payment(self, step: Close | AttachNext | Look) -> None:
        match step:
            case Close(give_back):
                self._ending = "released" if give_back else "expired"
                self._show("Closing the payment, so that nobody pays for stock that is given back.")
                await self._paying.close(give_back=give_back)
                self._ending = None  # what was learned decides anew
            case AttachNext(asked):
                self._show(f"Looking at {asked.payment.id}, which is to be this hold's payment.")
                await self._paying.attach(asked)
            case Look(payment):
                self._show(f"Asking Stripe how {payment.id} stands.")
                await self._paying.look(payment)

    async def _sleep(self, until: datetime, heard: int) -> None:
        try:
            await workflow.wait_condition(
                lambda: self._heard != heard, timeout=until - workflow.now(), timeout_summary="hold TTL"
            )
        except TimeoutError:
            return  # a time-out decides nothing: `decide` is asked again

    async def _write_deadline(self, deadline: datetime) -> None:
        self._show("Writing the new deadline.")
        written = await activity_calls.write_deadline(DeadlineRequest(self._hold.shop_id, self._hold.hold_id, deadline))
        self._written_deadline = deadline
        if written:
            workflow.upsert_search_attributes([HOLD_EXPIRES_AT.value_set(deadline)])
        else:  # the row has ended by another hand: settle, which changes nothing then, tells how
            self._facts.hear_cancel(Cancel(actor="holdfast", reason="ended_elsewhere"))

    async def _settle(self, to: SettledStatus, reason: str, actor: str, payment: Payment | None = None) -> EndStatus:
        self._ending = to  # from here on the decision is final
        self._show(f"Ending as {ui_text.end(to, reason)}.")
        request = SettleRequest(self._hold.shop_id, self._hold.hold_id, to, reason, actor, payment)
        settled = await activity_calls.settle(request)
        self._ended_hold = settled.hold
        if settled.status == "committed" and settled.hold is not None:
            self._bought_by = settled.hold.payment
        self._show(f"Ended as {ui_text.end(settled.status, reason if settled.status == to else settled.status)}.")
        return settled.status

    def _show(self, what: str) -> None:
        workflow.set_current_details(what)

    @workflow.signal(description="Stripe: a payment for this hold was made")
    def payment_succeeded(self, payment: Payment) -> None:
        """Sell the hold to this payment, or report the payment if the hold has ended otherwise."""
        self._facts.hear_payment(payment)
        self._hear()

    @workflow.signal(description="Stripe: an attempt to pay was declined; the shopper can try again")
    def payment_failed(self, attempt: PaymentFailed) -> None:
        """Note a declined attempt. It ends nothing."""
        self._facts.hear_attempt(attempt.payment, attempt.event_id)

    @workflow.signal(description="Stripe: a payment is under way that takes its time")
    def payment_processing(self, message: PaymentProcessing) -> None:
        """Wait for the payment as long as its method's grace allows."""
        self._facts.hear_processing(message, workflow.now())
        self._hear()

    @workflow.signal(description='Give the stock back. Data: {"actor": "your name", "reason": "why"}')
    def cancel(self, message: Cancel) -> None:
        """Release the hold, unless it is sold."""
        self._facts.hear_cancel(message)
        self._hear()

    @workflow.update(description="Wait until the stock is reserved or refused")
    async def reserved(self) -> ReserveOutcome:
        """Answer how the reserve of this run went."""
        await workflow.wait_condition(lambda: self._reservation is not None)
        assert self._reservation is not None  # noqa: S101 - narrows the type
        return self._reservation

    @workflow.update(description="Wait until the Checkout Session is open or refused")
    async def checkout_opened(self) -> CheckoutAnswer:
        """Answer how the reserve went, and what came of the Checkout Session."""
        await workflow.wait_condition(lambda: self._ended is not None or self._paying.checkout is not None)
        assert self._reservation is not None  # noqa: S101 - narrows the type
        return CheckoutAnswer(self._reservation, self._paying.checkout, self._ended)

    @workflow.update(description="Make a payment that the shop opened the hold's")
    async def attach(self, asked: Attach) -> Attached:
        """Attach the payment, so that it is closed before the stock is given back; answers whether it was."""
        if (earlier := self._paying.attached.get(asked)) and earlier.refused:
            del self._paying.attached[asked]  # it may be otherwise now
        if asked not in self._paying.attached and asked not in self._facts.to_attach:
            self._facts.to_attach.append(asked)
            self._hear()
        await workflow.wait_condition(lambda: self._ended is not None or asked in self._paying.attached)
        return self._paying.attached.get(asked) or Attached(ended=self._ended)

    @workflow.update(description="Sell the hold and wait for its end")
    async def commit(self, message: Commit) -> Ended:
        """Sell the hold; answers how it ended, which may be otherwise."""
        self._facts.commit = self._facts.commit or message
        self._hear()
        return await self._end()

    @workflow.update(description="Give the stock back and wait for the hold's end")
    async def release(self, message: Cancel) -> Ended:
        """Release the hold; answers how it ended, which may be otherwise."""
        self.cancel(message)
        return await self._end()

    async def _end(self) -> Ended:
        await workflow.wait_condition(lambda: self._ended is not None)
        assert self._ended is not None  # noqa: S101 - narrows the type
        return Ended(self._ended, self._ended_hold)

    @workflow.update(description="Move the deadline and wait until it is written")
    async def extend(self, message: Extend) -> Extended:
        """Move the deadline by `ttl_seconds`, at most to the ceiling of the hold's life."""
        extension = self._extensions.hear(message)
        self._hear()
        await workflow.wait_condition(lambda: self._ended is not None or self._is_written(extension.deadline))
        if self._is_written(extension.deadline):
            return Extended(extension.deadline or self._facts.deadline)
        return Extended(self._facts.deadline, self._ended)

    @extend.validator
    def _check_extend(self, message: Extend) -> None:
        earlier = self._extensions.with_key(message.key)
        if earlier is not None:
            if earlier.asked != message:
                raise ApplicationError("the key was used with another ttlSeconds", type=IDEMPOTENCY_CONFLICT)
            return
        cancelled = self._facts.cancel is not None or workflow.cancellation_reason() is not None
        if self._ending or self._ended or self._facts.paid or cancelled:
            raise ApplicationError("the hold is ending or has ended", type=HOLD_NOT_ACTIVE)
        if not self._extensions.would_gain(message, self._facts.deadline, self._ceiling):
            raise ApplicationError("the hold lives as long as it can already", type=HOLD_EXTEND_LIMIT)

    def _is_written(self, deadline: datetime | None) -> bool:
        return deadline is not None and self._written_deadline is not None and self._written_deadline >= deadline

    @workflow.query(description="What the hold knows and waits for")
    def snapshot(self) -> Snapshot:
        """Answer the hold's state as this run knows it."""
        return Snapshot(
            hold_id=self._hold.hold_id,
            shop_id=self._hold.shop_id,
            status=self._ended or ("active" if isinstance(self._reservation, Held) else "reserving"),
            expires_at=self._facts.deadline,
            ending=self._ending,
            payments=list(self._facts.payments),
            failed_attempts=len(self._facts.failed),
            attached=self._facts.attached,
        )
