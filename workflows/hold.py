"""HoldWorkflow: one checkout's hold, from its reserve to its only end."""

from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from domain.holds import Held, HoldStatus, ReserveOutcome, ReserveRequest, TooLate
from workflows import activity_calls, ui_text
from workflows.cancellation import CALLER_GONE, run_despite_cancellation
from workflows.closing import finish
from workflows.continuation import next_input
from workflows.decision import (
    AttachPayment,
    ChangeHold,
    CheckPayment,
    ClosePayment,
    CommitHold,
    ExpireHold,
    ReleaseHold,
    Wait,
    decide,
)
from workflows.hold_messages import HoldMessages
from workflows.hold_signals import HoldSignals
from workflows.messages import (
    HOLD_EXPIRES_AT,
    HOLD_REFERENCE,
    HOLD_STATUS,
    SKU,
    Amend,
    Cancel,
    DeadlineRequest,
    Ended,
    EndStatus,
    ExpiryWarning,
    HoldInput,
    MakeWay,
    SettledStatus,
    SettleRequest,
    hold_workflow_id,
    settled_status,
)
from workflows.patches import (
    CONTINUE_AS_NEW,
    GRACE_ENDS_EARLY,
    KEEPS_TIMER,
    LATE_TAKES_NOTHING,
    LOCAL_END,
    WARNS_OF_EXPIRY,
)
from workflows.search_attributes import searchable, searchable_skus

_EVENTS_OF_FIRST_TASK = 3
"""Started, task scheduled, task started; a repeated first task comes after the event that the earlier one timed out."""


@workflow.defn(name="HoldWorkflow")
class HoldWorkflow(HoldMessages):
    """Holds stock, waits for messages with a durable timer, and ends the hold exactly once."""

    @workflow.init
    def __init__(self, hold: HoldInput) -> None:
        """Make the state, which the base class has."""
        super().__init__(hold)

    @workflow.run
    async def run(self, hold: HoldInput) -> Ended:
        """Run the hold to its end. A cancellation in the Temporal UI is caught here only, and recorded as a cancel."""
        del hold  # __init__ has it
        return await run_despite_cancellation(self._run(), self._note_cancellation)

    def _note_cancellation(self) -> None:
        self._record_cancellation()
        self._state.changed()

    def _record_cancellation(self) -> None:
        """Record a cancellation requested in Temporal, which reaches `run` some steps later than a message."""
        if workflow.cancellation_reason() is not None:
            self._state.record_cancel(Cancel(actor="temporal", reason="cancelled_in_temporal"))

    async def _run(self) -> Ended:
        self.show_step("Taking the stock.")
        self._reservation = await self._reserve()
        if not isinstance(self._reservation, Held):
            ended: EndStatus = "rejected"
            self.show_step(ui_text.refusal(self._reservation))
        elif self._reservation.status is HoldStatus.ACTIVE:
            self._adopt(self._reservation)
            self._payment_steps.begin_checkout(self._created_at)
            await self._tell_replaced()
            ended = await self._wait_and_settle()
        else:
            self.show_step(ui_text.refusal(self._reservation))
            ended = settled_status(self._reservation.status)
            self._bought_by = self._reservation.payment if ended == "committed" else None
        self._ended = ended
        workflow.upsert_search_attributes([HOLD_STATUS.value_set(ended)])
        await finish(self._hold, self._state, self._payment_steps, self._bought_by)
        row = self._ended_hold
        return Ended(ended) if row is None else Ended(ended, sold=row.sold, paid_elsewhere=row.paid_elsewhere)

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
            browser_extensions=self._hold.browser_extensions,
            request_id=self._hold.request_id,
            buyer=self._hold.buyer,
            replaces=self._hold.replaces,
            metadata=self._hold.metadata,
            actor=self._hold.actor,
            warn_before_seconds=self._hold.warn_before_seconds,
        )
        self._written_deadline = request.expires_at
        if self._caller_has_gone(request) and workflow.patched(LATE_TAKES_NOTHING):
            return TooLate()
        outcome = await activity_calls.reserve(request)
        return replace(outcome, made_by=self._hold.request_id) if isinstance(outcome, Held) else outcome

    def _caller_has_gone(self, request: ReserveRequest) -> bool:
        """Return whether nobody waits for the hold any more, and no row can exist that this run has to end.

        A run that resumes a hold has its row, and so may a run whose first task a worker began and did not finish.
        """
        cancel = self._state.cancel
        cancelled = cancel is not None and cancel.reason == CALLER_GONE
        begun_before = workflow.info().get_current_history_length() > _EVENTS_OF_FIRST_TASK + cancelled
        if self._hold.expires_at is not None or begun_before:
            return False
        return cancelled or workflow.now() >= request.reserve_before

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
        self._changes.adopt(held)
        self._payment_steps.adopt(held.payment)
        if held.payment is not None and self._state.attached is None and self._hold.continued is None:
            self._state.attach(held.payment)

    async def _tell_replaced(self) -> None:
        """Tell the workflow of the hold whose units this one took over: its row has ended, and so it ends too."""
        if self._hold.replaces is None or self._hold.continued is not None:
            return
        replaced = workflow.get_external_workflow_handle(hold_workflow_id(self._hold.shop_id, self._hold.replaces))
        with suppress(ApplicationError):  # it is closed already; the audit ends one that is missing
            await replaced.signal(HoldSignals.cancel, Cancel(actor="holdfast", reason="replaced"))

    async def _wait_and_settle(self) -> EndStatus:
        while True:
            self._record_cancellation()
            if not self._state.paid and self._state.cancel is None:
                # Only here: a run that resumes an older hold knows its deadline only from the row.
                self._state.own_deadline = self._extensions.moved_by_waiting(self._state.own_deadline, self._ceiling)
                self._state.deadline = self._extensions.apply(self._state.deadline, self._ceiling)
            if self._state.grace_ended_early and workflow.patched(GRACE_ENDS_EARLY):
                self._state.shorten_to_running_graces()
            version = self._state.version
            match decide(self._state, workflow.now()):
                case CommitHold() as commit:
                    return await self._sell(commit)
                case ReleaseHold(actor, reason):
                    return await self._give_back("released", reason, actor)
                case ExpireHold():
                    why = "orphaned" if self._hold.orphaned else "deadline"
                    return await self._give_back("expired", why, "holdfast")
                case ChangeHold(request):
                    await self._change(request)
                case ClosePayment() | AttachPayment() | CheckPayment() as step:
                    await self._take_payment_step(step)
                case Wait(until):
                    await self._wait(until, version)
                case decision:
                    assert_never(decision)

    async def _wait(self, until: datetime, version: int) -> None:
        if self._state.deadline != self._written_deadline:
            await self._write_deadline(self._state.deadline)
        elif self._warn_before is not None and workflow.now() >= until - self._warn_before:
            await self._warn()
        elif self._can_continue():
            if workflow.patched(CONTINUE_AS_NEW):
                workflow.continue_as_new(self._next_input())
            self._stays = True  # the run began without that: otherwise its history could not be replayed
        else:
            pending = " Cancellation pending until the payment settles." if self._state.cancel else ""
            self.show_step(f"Waiting for the payment until {until:%Y-%m-%d %H:%M:%S} UTC; then it expires.{pending}")
            await self._sleep(until, version)

    async def _warn(self) -> None:
        if workflow.patched(WARNS_OF_EXPIRY):
            await activity_calls.warn_of_expiry(ExpiryWarning(self._hold.shop_id, self._hold.hold_id))
        self._warn_before = None  # once, also if the deadline moves afterwards

    async def _take_payment_step(self, step: ClosePayment | AttachPayment | CheckPayment) -> None:
        match step:
            case ClosePayment(cancelled):
                self._ending = "released" if cancelled else "expired"
                self.show_step("Closing the payment before the stock is released.")
                await self._payment_steps.close(cancelled=cancelled)
                self._ending = None  # the payment's status decides what follows
            case AttachPayment(request):
                self.show_step(f"Attaching {request.payment.id}.")
                await self._payment_steps.attach(request)
            case CheckPayment(payment):
                self.show_step(f"Reading the status of {payment.id} from Stripe.")
                await self._payment_steps.check(payment)

    async def _change(self, request: Amend | MakeWay) -> None:
        if isinstance(request, MakeWay):
            self.show_step("Closing the payment for the hold that takes over the units.")
            await self._changes.make_way(request)
            return
        self.show_step("Changing the hold.")
        reference = self._changes.reference
        amended = await self._changes.amend(request, self._created_at)
        if amended is None:
            return
        if self._written_deadline is None or amended.expires_at > self._written_deadline:
            self._written_deadline = amended.expires_at
            self._state.extend_to(amended.expires_at)
            workflow.upsert_search_attributes([HOLD_EXPIRES_AT.value_set(amended.expires_at)])
        if amended.reference is not None and amended.reference != reference:
            workflow.upsert_search_attributes([HOLD_REFERENCE.value_set(searchable(amended.reference))])
        if self._hold.search_by_sku:
            workflow.upsert_search_attributes([SKU.value_set(searchable_skus(amended.lines))])

    async def _sleep(self, until: datetime, version: int) -> None:
        cancel = self._state.cancel

        def ends() -> bool:
            """Return whether the wait ends. A message that changes nothing leaves its timer as it is."""
            if self._can_continue():
                return True
            if self._state.version == version:
                return False
            unchanged = self._state.cancel is cancel and self._would_wait(until)
            # Asked only then: the patch's marker would cost every hold an event.
            return not (unchanged and workflow.patched(KEEPS_TIMER))

        wakes_at = until
        held = self._reservation
        if isinstance(held, Held) and held.ends_at is not None and until == held.expires_at:
            wakes_at = max(until, held.ends_at)
        if self._warn_before is not None:
            wakes_at = until - self._warn_before
        try:
            await workflow.wait_condition(ends, timeout=wakes_at - workflow.now(), timeout_summary="hold TTL")
        except TimeoutError:
            return  # a time-out is not a decision: `decide` is evaluated again

    def _would_wait(self, until: datetime) -> bool:
        """Return whether the run would only wait again, until the same time."""
        if workflow.cancellation_reason() is not None or self._extensions.are_waiting or self._state.grace_ended_early:
            return False
        return decide(self._state, workflow.now()) == Wait(until)

    def _can_continue(self) -> bool:
        """Return whether Temporal suggests a new run, well before its limits of one, and nothing is under way."""
        suggested = workflow.info().is_continue_as_new_suggested() and not self._stays
        return suggested and workflow.all_handlers_finished() and self._next_input() is not None

    def _next_input(self) -> HoldInput | None:
        warned = self._warn_before is None and self._hold.warn_before_seconds is not None
        hold = replace(self._hold, warn_before_seconds=None) if warned else self._hold
        return next_input(hold, self._state, self._payment_steps, self._extensions, self._changes)

    async def _write_deadline(self, deadline: datetime) -> None:
        self.show_step("Writing the new deadline.")
        earlier = self._written_deadline
        request = DeadlineRequest(
            self._hold.shop_id,
            self._hold.hold_id,
            deadline,
            moves_back_from=earlier if earlier is not None and deadline < earlier else None,
            browser_extended=self._extensions.by_browser,
        )
        written = await activity_calls.write_deadline(request)
        self._written_deadline = deadline
        if written:
            workflow.upsert_search_attributes([HOLD_EXPIRES_AT.value_set(deadline)])
        else:  # something else ended the hold: settle changes nothing and returns its status
            self._state.record_cancel(Cancel(actor="holdfast", reason="ended_elsewhere"))
            self._ended_elsewhere = workflow.patched(LOCAL_END)

    async def _sell(self, sale: CommitHold) -> EndStatus:
        request = SettleRequest(
            self._hold.shop_id,
            self._hold.hold_id,
            "committed",
            sale.reason,
            sale.actor,
            sale.payment,
            sale.sold,
            sale.paid_elsewhere,
        )
        return await self._settle(request)

    async def _give_back(self, to: SettledStatus, reason: str, actor: str) -> EndStatus:
        return await self._settle(SettleRequest(self._hold.shop_id, self._hold.hold_id, to, reason, actor))

    async def _settle(self, request: SettleRequest) -> EndStatus:
        to, reason = request.to, request.reason
        self._ending = to  # from here on the decision is final
        self.show_step(f"Ending as {ui_text.end(to, reason)}.")
        settled = await activity_calls.settle(request, locally=self._ends_locally(to))
        self._ended_hold = settled.hold
        if settled.status == "committed" and settled.hold is not None:
            self._bought_by = settled.hold.bought_by
        self.show_step(f"Ended as {ui_text.end(settled.status, reason if settled.status == to else settled.status)}.")
        return settled.status

    def _ends_locally(self, to: SettledStatus) -> bool:
        """Return whether nothing is lost if the decision is recorded only after its effect.

        Nothing overrides a commit (docs/decisions/0006-a-commit-settles-in-a-local-activity.md). Where there was no
        payment to close, one that arrives during the effect becomes a late payment, as one that arrives after it
        (docs/decisions/0037-a-hold-without-payment-ends-in-a-local-activity.md).
        """
        return to == "committed" or (self._state.attached is None and workflow.patched(LOCAL_END))
