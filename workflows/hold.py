"""HoldWorkflow: one checkout's hold, from its reserve to the one end that it has."""

import asyncio
from datetime import datetime, timedelta
from typing import assert_never

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from workflows import effects, legible
from workflows.extensions import Extensions
from workflows.messages import (
    HOLD_EXPIRES_AT,
    HOLD_EXTEND_LIMIT,
    HOLD_NOT_ACTIVE,
    HOLD_STATUS,
    IDEMPOTENCY_CONFLICT,
    Cancel,
    Commit,
    DeadlineRequest,
    Ended,
    EndStatus,
    Extend,
    Extended,
    Held,
    HoldInput,
    Payment,
    PaymentProcessing,
    Reservation,
    ReserveRequest,
    SettledStatus,
    SettleRequest,
    Snapshot,
    UnclaimedPayment,
)
from workflows.outcome import Expire, Facts, GiveBack, Sell, Wait, decide


@workflow.defn(name="HoldWorkflow")
class HoldWorkflow:
    """Holds stock, waits for messages with a durable timer, and ends the hold exactly once."""

    @workflow.init
    def __init__(self, hold: HoldInput) -> None:
        """Make the facts at once: an update's handler can run before the first line of `run`."""
        self._hold = hold
        self._created_at = workflow.now()
        self._facts = Facts(deadline=self._created_at + timedelta(seconds=hold.ttl_seconds))
        self._heard = 0
        self._reservation: Reservation | None = None
        self._written_deadline: datetime | None = None
        self._extensions = Extensions()
        self._ending: str | None = None
        self._ended: EndStatus | None = None
        self._bought_by: str | None = None
        self._reported: set[str] = set()

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
            self._show(legible.refusal(self._reservation))
        elif self._reservation.status == "active":
            self._adopt(self._reservation)
            ended = await self._wait_and_settle()
        else:
            self._show(legible.refusal(self._reservation))
            ended, self._bought_by = self._reservation.status, self._reservation.payment_id
        self._ended = ended
        workflow.upsert_search_attributes([HOLD_STATUS.value_set(ended)])
        await self._leave_nothing_unanswered(ended)
        return Ended(ended)

    async def _reserve(self) -> Reservation:
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
        return await effects.reserve(request)

    def _adopt(self, held: Held) -> None:
        """Go by the row's times: they differ from this run's where the hold is older than the run.

        They also differ when the run is replayed after its first task was done in pieces: what `workflow.now` said
        then is only known from the recorded answer, so nothing may be decided by the difference.
        """
        self._created_at = held.created_at
        self._written_deadline = held.expires_at
        self._facts.deadline = max([held.expires_at, *self._facts.processing.values()])

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
                case Sell(actor, reason, payment_id):
                    return await self._settle("committed", reason, actor, payment_id)
                case GiveBack(actor, reason):
                    return await self._settle("released", reason, actor)
                case Expire():
                    why = "orphaned" if self._hold.orphaned else "deadline"
                    return await self._settle("expired", why, "holdfast")
                case Wait() if self._facts.deadline != self._written_deadline:
                    await self._write_deadline(self._facts.deadline)
                case Wait(until):
                    noted = " A cancel is noted and waits for the payment under way." if self._facts.cancel else ""
                    self._show(f"Waiting for the payment until {until:%Y-%m-%d %H:%M:%S} UTC; then it expires.{noted}")
                    await self._sleep(until, heard)
                case outcome:
                    assert_never(outcome)

    async def _sleep(self, until: datetime, heard: int) -> None:
        try:
            await workflow.wait_condition(
                lambda: self._heard != heard, timeout=until - workflow.now(), timeout_summary="hold TTL"
            )
        except TimeoutError:
            return  # a time-out decides nothing: `decide` is asked again

    async def _write_deadline(self, deadline: datetime) -> None:
        self._show("Writing the new deadline.")
        written = await effects.write_deadline(DeadlineRequest(self._hold.shop_id, self._hold.hold_id, deadline))
        self._written_deadline = deadline
        if written:
            workflow.upsert_search_attributes([HOLD_EXPIRES_AT.value_set(deadline)])
        else:  # the row has ended by another hand: settle, which changes nothing then, tells how
            self._facts.hear_cancel(Cancel(actor="holdfast", reason="ended_elsewhere"))

    async def _settle(self, to: SettledStatus, reason: str, actor: str, payment_id: str | None = None) -> EndStatus:
        self._ending = to  # from here on the decision is final
        self._show(f"Ending as {legible.end(to, reason)}.")
        request = SettleRequest(self._hold.shop_id, self._hold.hold_id, to, reason, actor, payment_id)
        settled = await effects.settle(request)
        self._bought_by = settled.payment_id
        self._show(f"Ended as {legible.end(settled.status, reason if settled.status == to else settled.status)}.")
        return settled.status

    async def _leave_nothing_unanswered(self, ended: EndStatus) -> None:
        """Report each payment that did not buy the hold and let the handlers answer, until nothing is left.

        The last look and the return have no await between them: a payment that comes between settle's result and
        the end of the run is delivered again by the server, and is lost unless somebody looks.
        """
        while True:
            unclaimed = [p for p in self._facts.payments if p != self._bought_by and p not in self._reported]
            for payment_id in unclaimed:
                await effects.report(UnclaimedPayment(self._hold.shop_id, self._hold.hold_id, payment_id, ended))
                self._reported.add(payment_id)
            if not workflow.all_handlers_finished():
                await workflow.wait_condition(workflow.all_handlers_finished)
            elif not unclaimed:
                return

    def _show(self, what: str) -> None:
        workflow.set_current_details(what)

    @workflow.signal(description="Stripe: a payment for this hold was made")
    def payment_succeeded(self, payment: Payment) -> None:
        """Sell the hold to this payment, or report the payment if the hold has ended otherwise."""
        self._facts.payments.setdefault(payment.id, payment)
        self._heard += 1

    @workflow.signal(description="Stripe: an attempt to pay was declined; the shopper can try again")
    def payment_failed(self, payment: Payment) -> None:
        """Note a declined attempt. It ends nothing."""
        del payment
        self._facts.failed_attempts += 1

    @workflow.signal(description="Stripe: a payment is under way that takes its time")
    def payment_processing(self, message: PaymentProcessing) -> None:
        """Wait for the payment as long as its method's grace allows."""
        self._facts.hear_processing(message, workflow.now())
        self._heard += 1

    @workflow.signal(description='Give the stock back. Data: {"actor": "your name", "reason": "why"}')
    def cancel(self, message: Cancel) -> None:
        """Release the hold, unless it is sold."""
        self._facts.hear_cancel(message)
        self._heard += 1

    @workflow.update(description="Wait until the stock is reserved or refused")
    async def reserved(self) -> Reservation:
        """Answer how the reserve of this run went."""
        await workflow.wait_condition(lambda: self._reservation is not None)
        assert self._reservation is not None  # noqa: S101 - narrows the type
        return self._reservation

    @workflow.update(description="Sell the hold and wait for its end")
    async def commit(self, message: Commit) -> Ended:
        """Sell the hold; answers how it ended, which may be otherwise."""
        self._facts.commit = self._facts.commit or message
        self._heard += 1
        return await self._end()

    @workflow.update(description="Give the stock back and wait for the hold's end")
    async def release(self, message: Cancel) -> Ended:
        """Release the hold; answers how it ended, which may be otherwise."""
        self.cancel(message)
        return await self._end()

    async def _end(self) -> Ended:
        await workflow.wait_condition(lambda: self._ended is not None)
        assert self._ended is not None  # noqa: S101 - narrows the type
        return Ended(self._ended)

    @workflow.update(description="Move the deadline and wait until it is written")
    async def extend(self, message: Extend) -> Extended:
        """Move the deadline by `ttl_seconds`, at most to the ceiling of the hold's life."""
        extension = self._extensions.hear(message)
        self._heard += 1
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
            failed_attempts=self._facts.failed_attempts,
        )
