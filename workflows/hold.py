"""HoldWorkflow: one checkout's hold, from its reserve to its only end."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from domain.holds import Held, HoldStatus, ReserveOutcome, ReserveRequest
from domain.payments import Payment
from workflows import activity_calls, ui_text
from workflows.cancellation import run_despite_cancellation
from workflows.checked_messages import checked_signal, one
from workflows.closing import finish
from workflows.continuation import next_input, restore
from workflows.decision import (
    AttachPayment,
    CheckPayment,
    ClosePayment,
    CommitHold,
    ExpireHold,
    ReleaseHold,
    Wait,
    decide,
)
from workflows.extensions import Extensions
from workflows.hold_signals import HoldSignals
from workflows.hold_state import HoldState
from workflows.messages import (
    HOLD_EXPIRES_AT,
    HOLD_EXTEND_LIMIT,
    HOLD_NOT_ACTIVE,
    HOLD_STATUS,
    IDEMPOTENCY_CONFLICT,
    PAYMENT_IN_PROGRESS,
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
from workflows.patches import END_KEEPS_HOLD, GRACE_ENDS_EARLY
from workflows.payment_messages import NamedPayment, PaymentFailed, PaymentProcessing
from workflows.payment_steps import PaymentSteps
from workflows.run_details import RunDetails


@workflow.defn(name="HoldWorkflow")
class HoldWorkflow(HoldSignals, RunDetails):
    """Holds stock, waits for messages with a durable timer, and ends the hold exactly once."""

    @workflow.init
    def __init__(self, hold: HoldInput) -> None:
        """Make the state at once: the handler of an update can run before the first line of `run`."""
        self._hold = hold
        self._created_at = workflow.now()
        self._state = HoldState(deadline=self._created_at + timedelta(seconds=hold.ttl_seconds))
        if hold.ended_before == "committed":
            self._state.commit = Commit(actor="audit", reason="restored")
        elif hold.ended_before == "released":
            self._state.record_cancel(Cancel(actor="audit", reason="restored"))
        self._version = 0
        self._payment_steps = PaymentSteps(hold, self._state, self._changed)
        self._reservation: ReserveOutcome | None = None
        self._written_deadline: datetime | None = None
        self._extensions = Extensions()
        if hold.continued is not None:
            restore(hold.continued, self._state, self._payment_steps, self._extensions)
        self._stays = False
        self._ending: str | None = None
        self._ended: EndStatus | None = None
        self._ended_hold: EndedHold | None = None
        self._bought_by: Payment | None = None

    @workflow.run
    async def run(self, hold: HoldInput) -> Ended:
        """Run the hold to its end. A cancellation in the Temporal UI is caught here only, and recorded as a cancel."""
        del hold  # __init__ has it
        return await run_despite_cancellation(self._run(), self._note_cancellation)

    def _changed(self) -> None:
        self._version += 1

    def _note_cancellation(self) -> None:
        self._record_cancellation()
        self._changed()

    def _record_cancellation(self) -> None:
        """Record a cancellation requested in Temporal, which reaches `run` some steps later than a message."""
        if workflow.cancellation_reason() is not None:
            self._state.record_cancel(Cancel(actor="temporal", reason="cancelled_in_temporal"))

    async def _run(self) -> Ended:
        self._show("Taking the stock.")
        self._reservation = await self._reserve()
        if not isinstance(self._reservation, Held):
            ended: EndStatus = "rejected"
            self._show(ui_text.refusal(self._reservation))
        elif self._reservation.status is HoldStatus.ACTIVE:
            self._adopt(self._reservation)
            self._payment_steps.begin_checkout(self._created_at)
            ended = await self._wait_and_settle()
        else:
            self._show(ui_text.refusal(self._reservation))
            ended = settled_status(self._reservation.status)
            self._bought_by = self._reservation.payment if ended == "committed" else None
        self._ended = ended
        workflow.upsert_search_attributes([HOLD_STATUS.value_set(ended)])
        await finish(self._hold, self._state, self._payment_steps, self._bought_by)
        return Ended(ended)

    async def _reserve(self) -> ReserveOutcome:
        request = ReserveRequest(
            shop_id=self._hold.shop_id,
            hold_id=self._hold.hold_id,
            lines=self._hold.lines,
            created_at=self._created_at,
            expires_at=self._state.deadline,
            # From the time the server accepted the start, not from this first task: after an outage of the workers no
            # caller waits any more.
            reserve_before=workflow.info().workflow_start_time + timedelta(milliseconds=self._hold.request_timeout_ms),
            reference=self._hold.reference,
            request_hash=self._hold.request_hash,
        )
        self._written_deadline = request.expires_at
        outcome = await activity_calls.reserve(request)
        return replace(outcome, made_by=self._hold.request_id) if isinstance(outcome, Held) else outcome

    def _adopt(self, held: Held) -> None:
        """Use the times of the row: they differ from this run's if the hold is older than the run.

        They also differ when the run is replayed after its first task was done in parts: what `workflow.now` returned
        then is only known from the recorded answer, so no decision may depend on the difference.
        """
        self._created_at = held.created_at
        self._written_deadline = held.expires_at
        self._state.own_deadline = held.expires_at
        self._state.deadline = max([held.expires_at, *self._state.processing.values()])
        if held.payment is not None and held.expires_at > self._ceiling and workflow.patched(GRACE_ENDS_EARLY):
            # Only a grace period ends that late: whether its payment is still processing is read from Stripe.
            self._state.own_deadline = self._ceiling
            self._state.unchecked[held.payment.id] = held.payment
        if held.payment is not None and self._state.attached is None:
            self._state.attach(held.payment)

    @property
    def _ceiling(self) -> datetime:
        return self._created_at + timedelta(seconds=self._hold.max_ttl_seconds)

    async def _wait_and_settle(self) -> EndStatus:
        while True:
            self._record_cancellation()
            if not self._state.paid and self._state.cancel is None:
                # Only here: a run that resumes an older hold knows its deadline only from the row.
                self._state.own_deadline = self._extensions.moved_by_waiting(self._state.own_deadline, self._ceiling)
                self._state.deadline = self._extensions.apply(self._state.deadline, self._ceiling)
            if self._state.grace_ended_early and workflow.patched(GRACE_ENDS_EARLY):
                self._state.shorten_to_running_graces()
            version = self._version
            match decide(self._state, workflow.now()):
                case CommitHold(actor, reason, payment):
                    return await self._settle("committed", reason, actor, payment)
                case ReleaseHold(actor, reason):
                    return await self._settle("released", reason, actor)
                case ExpireHold():
                    why = "orphaned" if self._hold.orphaned else "deadline"
                    return await self._settle("expired", why, "holdfast")
                case ClosePayment() | AttachPayment() | CheckPayment() as step:
                    await self._take_payment_step(step)
                case Wait(until):
                    await self._wait(until, version)
                case decision:
                    assert_never(decision)

    async def _wait(self, until: datetime, version: int) -> None:
        if self._state.deadline != self._written_deadline:
            await self._write_deadline(self._state.deadline)
        elif self._can_continue():
            if workflow.patched("continue-as-new"):
                workflow.continue_as_new(self._next_input())
            self._stays = True  # the run began without that: otherwise its history could not be replayed
        else:
            pending = " Cancellation pending until the payment settles." if self._state.cancel else ""
            self._show(f"Waiting for the payment until {until:%Y-%m-%d %H:%M:%S} UTC; then it expires.{pending}")
            await self._sleep(until, version)

    async def _take_payment_step(self, step: ClosePayment | AttachPayment | CheckPayment) -> None:
        match step:
            case ClosePayment(cancelled):
                self._ending = "released" if cancelled else "expired"
                self._show("Closing the payment before the stock is released.")
                await self._payment_steps.close(cancelled=cancelled)
                self._ending = None  # the payment's status decides what follows
            case AttachPayment(request):
                self._show(f"Attaching {request.payment.id}.")
                await self._payment_steps.attach(request)
            case CheckPayment(payment):
                self._show(f"Reading the status of {payment.id} from Stripe.")
                await self._payment_steps.check(payment)

    async def _sleep(self, until: datetime, version: int) -> None:
        try:
            await workflow.wait_condition(
                lambda: self._version != version or self._can_continue(),
                timeout=until - workflow.now(),
                timeout_summary="hold TTL",
            )
        except TimeoutError:
            return  # a time-out is not a decision: `decide` is evaluated again

    def _can_continue(self) -> bool:
        """Return whether Temporal suggests a new run, well before its limits of one, and nothing is under way."""
        suggested = workflow.info().is_continue_as_new_suggested() and not self._stays
        return suggested and workflow.all_handlers_finished() and self._next_input() is not None

    def _next_input(self) -> HoldInput | None:
        return next_input(self._hold, self._state, self._payment_steps, self._extensions)

    async def _write_deadline(self, deadline: datetime) -> None:
        self._show("Writing the new deadline.")
        earlier = self._written_deadline
        request = DeadlineRequest(
            self._hold.shop_id,
            self._hold.hold_id,
            deadline,
            moves_back_from=earlier if earlier is not None and deadline < earlier else None,
        )
        written = await activity_calls.write_deadline(request)
        self._written_deadline = deadline
        if written:
            workflow.upsert_search_attributes([HOLD_EXPIRES_AT.value_set(deadline)])
        else:  # something else ended the hold: settle changes nothing and returns its status
            self._state.record_cancel(Cancel(actor="holdfast", reason="ended_elsewhere"))

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

    def _show(self, step: str) -> None:
        self.show_step(step)

    @checked_signal(description="Stripe: a payment for this hold was made")
    def payment_succeeded(self, payment: NamedPayment) -> None:
        """Commit the hold, or start a late payment if the hold has ended otherwise."""
        self._state.record_payment(payment)
        self._changed()

    @checked_signal(description="Stripe: an attempt to pay failed; the shopper can try again")
    def payment_failed(self, attempt: PaymentFailed) -> None:
        """Record a failed attempt: it ends the grace period of a payment that was processing, and nothing else."""
        self._state.record_failed_attempt(attempt.payment, attempt.event_id)
        if attempt.payment.id in self._state.processing and workflow.patched(GRACE_ENDS_EARLY):
            self._state.end_processing(attempt.payment)
            self._changed()

    @checked_signal(description="Stripe: a payment is processing (bank debit, voucher)")
    def payment_processing(self, message: PaymentProcessing) -> None:
        """Wait for the payment until the end of its method's grace period."""
        self._state.record_processing(message, workflow.now())
        self._changed()

    @checked_signal(
        description='Release the stock. Data: {"actor": "your name", "reason": "why"}',
        without_data=Cancel(actor="temporal"),
    )
    def cancel(self, message: Cancel) -> None:
        """Release the hold, unless it is committed. The end of a payment that the shop opened releases nothing."""
        ended = message.payment
        if ended is not None and not ended.is_same(self._state.page) and workflow.patched(END_KEEPS_HOLD):
            self._state.record_end(ended)
        else:
            self._state.record_cancel(message)
        self._changed()

    @checked_signal(
        description='Sell the hold. Data: {"actor": "your name", "reason": "why"}',
        without_data=Commit(actor="temporal"),
    )
    def record_commit(self, message: Commit) -> None:
        """Commit the hold without an answer: no limit of updates stops a signal."""
        self._state.commit = self._state.commit or message
        self._changed()

    @workflow.update(description="Wait until the stock is reserved or refused")
    async def reserved(self) -> ReserveOutcome:
        """Return the outcome of this run's reserve."""
        await workflow.wait_condition(lambda: self._reservation is not None)
        assert self._reservation is not None  # noqa: S101 - narrows the type
        return self._reservation

    @workflow.update(description="Wait until the Checkout Session is open or refused")
    async def checkout_opened(self) -> CheckoutAnswer:
        """Return the outcome of the reserve and of the Checkout Session, which is None if this run opens none."""
        without = self._hold.checkout is None and workflow.patched("answer-without-checkout")
        await workflow.wait_condition(
            lambda: (
                self._ended is not None
                or self._payment_steps.checkout is not None
                or (without and self._reservation is not None)
            )
        )
        assert self._reservation is not None  # noqa: S101 - narrows the type
        return CheckoutAnswer(self._reservation, self._payment_steps.checkout, self._ended)

    @workflow.update(description="Attach a payment that the shop opened")
    async def attach(self, request: Attach) -> Attached:
        """Attach the payment, so that it is closed before the stock is released."""
        if self._payment_steps.is_outdated(request):
            del self._payment_steps.attached[request]
        if request not in self._payment_steps.attached and request not in self._state.attach_requests:
            self._state.attach_requests.append(request)
            self._changed()
        await workflow.wait_condition(lambda: self._ended is not None or request in self._payment_steps.attached)
        return self._payment_steps.attached.get(request) or Attached(ended=self._ended)

    attach.validator(one(Attach))

    @workflow.update(description="Commit the hold and wait for its end")
    async def commit(self, message: Commit) -> Ended:
        """Commit the hold. Returns how it ended, which may differ."""
        self._state.commit = self._state.commit or message
        self._changed()
        return await self._end(message.request_id)

    commit.validator(one(Commit))

    @workflow.update(description="Release the stock and wait for the hold's end")
    async def release(self, message: Cancel) -> Ended:
        """Release the hold. Returns how it ended, which may differ."""
        self._state.record_cancel(message)
        self._changed()
        if message.unless_in_progress:
            await workflow.wait_condition(lambda: self._ended is not None or self._state.in_progress)
            if self._ended is None:  # it was found when the payment was to be closed
                raise _in_progress()
        return await self._end(message.request_id)

    @release.validator
    def _check_release(self, message: Cancel) -> None:
        if message.unless_in_progress and self._state.in_progress and not self._ended:
            raise _in_progress()

    async def _end(self, request_id: str | None) -> Ended:
        await workflow.wait_condition(lambda: self._ended is not None)
        assert self._ended is not None  # noqa: S101 - narrows the type
        return Ended(self._ended, self._ended_hold, request_id)

    @workflow.update(description="Move the deadline and wait until it is written")
    async def extend(self, message: Extend) -> Extended:
        """Move the deadline by `ttl_seconds`, at most to the ceiling of the hold's life."""
        extension = self._extensions.record(message)
        self._changed()
        await workflow.wait_condition(lambda: self._ended is not None or self._is_written(extension.deadline))
        if self._is_written(extension.deadline):
            return Extended(min(extension.deadline or self._state.deadline, self._state.deadline))
        return Extended(self._state.deadline, self._ended)

    @extend.validator
    def _check_extend(self, message: Extend) -> None:
        earlier = self._extensions.with_key(message.key)
        if earlier is not None:
            if earlier.request != message:
                raise ApplicationError("the key was used with another ttlSeconds", type=IDEMPOTENCY_CONFLICT)
            return
        cancelled = self._state.cancel is not None or workflow.cancellation_reason() is not None
        if self._ending or self._ended or self._state.paid or cancelled:
            raise ApplicationError("the hold is ending or has ended", type=HOLD_NOT_ACTIVE)
        if not self._extensions.would_gain(message, self._state.deadline, self._ceiling):
            raise ApplicationError("the deadline is already at the ceiling of the hold's life", type=HOLD_EXTEND_LIMIT)

    def _is_written(self, deadline: datetime | None) -> bool:
        if deadline is None or self._written_deadline is None:
            return False
        return self._written_deadline >= min(deadline, self._state.deadline)  # a grace may have ended early since

    @workflow.query(description="What the hold knows and waits for")
    def snapshot(self) -> Snapshot:
        """Return the hold's state as this run knows it."""
        return Snapshot(
            hold_id=self._hold.hold_id,
            shop_id=self._hold.shop_id,
            status=self._ended or ("active" if isinstance(self._reservation, Held) else "reserving"),
            expires_at=self._state.deadline,
            ending=self._ending,
            payments=list(self._state.payments),
            failed_attempts=len(self._state.failed),
            attached=self._state.attached,
        )


def _in_progress() -> ApplicationError:
    return ApplicationError("a payment of the hold is in progress", type=PAYMENT_IN_PROGRESS)
