"""The messages of a hold: signals, updates and the query. They record what arrives and wait for what `run` does."""

from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from domain.holds import Held, ReserveOutcome
from domain.payments import Payment
from workflows.changes import Changes
from workflows.checked_messages import checked_signal, one, update_of
from workflows.continuation import restore
from workflows.doubts import doubted, record_succeeded
from workflows.ended_hold import EndedHold
from workflows.extensions import Extensions
from workflows.hold_signals import HoldSignals
from workflows.hold_state import HoldState
from workflows.messages import (
    HOLD_EXTEND_LIMIT,
    HOLD_NOT_ACTIVE,
    IDEMPOTENCY_CONFLICT,
    MESSAGE_KNOWN,
    PAYMENT_IN_PROGRESS,
    PAYMENT_NOT_MADE,
    Amend,
    AmendAnswer,
    Attach,
    Attached,
    Cancel,
    CheckoutAnswer,
    Commit,
    Ended,
    EndStatus,
    Extend,
    Extended,
    HoldInput,
    MadeWay,
    MakeWay,
    Snapshot,
)
from workflows.patches import (
    ANSWERS_WITHOUT_CHECKOUT,
    CONTINUE_AS_NEW,
    END_KEEPS_HOLD,
    GRACE_ENDS_EARLY,
)
from workflows.payment_messages import NamedPayment, PaymentFailed, PaymentProcessing
from workflows.payment_steps import PaymentSteps
from workflows.run_details import RunDetails


class HoldMessages(HoldSignals, RunDetails):
    """The state of HoldWorkflow, and the handlers of its messages."""

    def __init__(self, hold: HoldInput) -> None:
        """Make the state at once: a handler can run before the first line of `run`."""
        self._hold = hold
        self._created_at = workflow.now()
        carried = hold.expires_at if hold.continued is not None else None
        self._state = HoldState(deadline=carried or self._created_at + timedelta(seconds=hold.ttl_seconds))
        self._state.detached += hold.detached_before
        if hold.ended_before == "committed":
            self._state.commit = Commit(
                actor="audit",
                reason="restored",
                items=hold.sold_before,
                paid_elsewhere=hold.paid_elsewhere_before,
            )
        elif hold.ended_before == "released":
            self._state.record_cancel(Cancel(actor="audit", reason="restored"))
        self._payment_steps = PaymentSteps(hold, self._state)
        self._reservation: ReserveOutcome | None = None
        self._written_deadline: datetime | None = None
        self._extensions = Extensions(browser_extended=hold.browser_extended)
        self._changes = Changes(hold, self._state, self._payment_steps)
        if hold.continued is not None:
            restore(hold.continued, self._state, self._payment_steps, self._extensions, self._changes)
        self._warn_before = None if hold.warn_before_seconds is None else timedelta(seconds=hold.warn_before_seconds)
        self._stays = False
        self._ended_elsewhere = False
        self._ending: str | None = None
        self._ended: EndStatus | None = None
        self._ended_hold: EndedHold | None = None
        self._bought_by: Payment | None = None

    def _note_suggested_continuation(self) -> None:
        """Decide whether the run continues as a new one, before its wait ends for that.

        Called by the handlers that do not end the wait: a run from before this patch must keep its timer.
        """
        if not self._stays and workflow.info().is_continue_as_new_suggested():
            self._stays = not workflow.patched(CONTINUE_AS_NEW)

    @property
    def _ceiling(self) -> datetime:
        return self._created_at + timedelta(seconds=self._hold.max_ttl_seconds)

    @checked_signal(description="Stripe: a payment for this hold was made")
    def payment_succeeded(self, payment: NamedPayment) -> None:
        """Commit the hold, or start a late payment if the hold has ended otherwise."""
        record_succeeded(self._state, payment)
        self._state.changed()

    @checked_signal(description="Stripe: an attempt to pay failed; the shopper can try again")
    def payment_failed(self, attempt: PaymentFailed) -> None:
        """Record a failed attempt: it ends the grace period of a payment that was processing, and releases nothing."""
        self._note_suggested_continuation()
        # Asked only where the attempt would be attached: the patch's marker would cost each decline an event.
        is_doubted = self._state.attached is None and doubted(self._state, attempt.payment)
        self._state.record_failed_attempt(attempt.payment, attempt.event_id, doubted=is_doubted)
        if is_doubted:
            self._state.changed()
        if attempt.payment.id in self._state.processing and workflow.patched(GRACE_ENDS_EARLY):
            self._state.end_processing(attempt.payment)
            self._state.changed()

    @checked_signal(description="Stripe: a payment is processing (bank debit, voucher)")
    def payment_processing(self, message: PaymentProcessing) -> None:
        """Wait for the payment until the end of its method's grace period."""
        if doubted(self._state, message.payment):
            self._state.record_doubted_processing(message.payment)
        else:
            self._state.record_processing(message, workflow.now())
        self._state.changed()

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
        self._state.changed()

    @checked_signal(
        description='Sell the hold. Data: {"actor": "your name", "reason": "why"}',
        without_data=Commit(actor="temporal"),
    )
    def record_commit(self, message: Commit) -> None:
        """Commit the hold without an answer: no limit of updates stops a signal."""
        self._state.record_commit(message)
        self._state.changed()

    def _check_failed(self, attempt: PaymentFailed) -> None:
        if attempt.event_id in self._state.failed:
            raise ApplicationError("the attempt is known", type=MESSAGE_KNOWN)

    update_payment_succeeded = update_of(payment_succeeded)
    update_payment_failed = update_of(payment_failed, _check_failed)
    update_payment_processing = update_of(payment_processing)
    update_cancel = update_of(cancel)

    @workflow.update(description="Wait until the stock is reserved or refused")
    async def reserved(self) -> ReserveOutcome:
        """Return the outcome of this run's reserve."""
        self._note_suggested_continuation()
        await workflow.wait_condition(lambda: self._reservation is not None)
        assert self._reservation is not None  # noqa: S101 - narrows the type
        return self._reservation

    @workflow.update(description="Wait until the Checkout Session is open or refused")
    async def checkout_opened(self) -> CheckoutAnswer:
        """Return the outcome of the reserve and of the Checkout Session, which is None if this run opens none."""
        self._note_suggested_continuation()
        without = self._hold.checkout is None and workflow.patched(ANSWERS_WITHOUT_CHECKOUT)
        await workflow.wait_condition(
            lambda: (
                self._ended is not None
                or (
                    self._reservation is not None
                    and (without or self._payment_steps.checkout is not None or self._payment_steps.page_closed)
                )
            )
        )
        assert self._reservation is not None  # noqa: S101 - narrows the type
        return CheckoutAnswer(self._reservation, self._payment_steps.checkout, self._ended)

    @workflow.update(description="Change the hold, or open another page to pay on")
    async def amend(self, request: Amend) -> AmendAnswer:
        """Change the hold all or nothing. Returns the outcome, or how the hold ended."""
        self._note_suggested_continuation()
        self._changes.record(request)
        await workflow.wait_condition(lambda: self._ended is not None or self._changes.answer_to(request) is not None)
        return self._changes.answer_to(request) or AmendAnswer(ended=self._ended)

    @amend.validator
    def _check_amend(self, request: Amend) -> None:
        if self._changes.is_another(request):
            raise ApplicationError("the key was used with another change", type=IDEMPOTENCY_CONFLICT)
        if self._changes.answer_to(request) is None:
            self._require_open()

    @workflow.update(description="Close the payment, so that another hold can take over the units")
    async def make_way(self, request: MakeWay) -> MadeWay:
        """Close the hold's payment. Returns why that is not possible, or how the hold ended."""
        self._note_suggested_continuation()
        self._state.changes.append(request)
        self._state.changed()
        await workflow.wait_condition(lambda: self._ended is not None or request.request_id in self._changes.made_way)
        return self._changes.made_way.get(request.request_id) or MadeWay(ended=self._ended)

    make_way.validator(one(MakeWay))

    def _require_open(self) -> None:
        """Refuse an update of a hold that is ending or has ended."""
        cancelled = self._state.cancel is not None or workflow.cancellation_reason() is not None
        if self._ending or self._ended or self._state.paid or cancelled:
            raise ApplicationError("the hold is ending or has ended", type=HOLD_NOT_ACTIVE)

    @workflow.update(description="Attach a payment that the shop opened")
    async def attach(self, request: Attach) -> Attached:
        """Attach the payment, so that it is closed before the stock is released."""
        self._note_suggested_continuation()
        if self._payment_steps.is_outdated(request):
            del self._payment_steps.attached[request]
        if request not in self._payment_steps.attached and request not in self._state.attach_requests:
            self._state.attach_requests.append(request)
            self._state.changed()
        await workflow.wait_condition(lambda: self._ended is not None or request in self._payment_steps.attached)
        return self._payment_steps.attached.get(request) or Attached(ended=self._ended)

    attach.validator(one(Attach))

    @workflow.update(description="Commit the hold and wait for its end")
    async def commit(self, message: Commit) -> Ended:
        """Commit the hold. Returns how it ended, which may differ."""
        return await self._commit(message)

    async def _commit(self, message: Commit) -> Ended:
        self._state.record_commit(message)
        self._state.changed()
        return await self._end(message.request_id)

    @workflow.update(description="Sell a part of the hold, or one that was paid elsewhere, and wait for its end")
    async def commit_as_told(self, message: Commit) -> Ended:
        """Commit as `commit` does. Release 0.2.0, which would overlook the fields in a `commit`, refuses this name."""
        return await self._commit(message)

    def _check_commit(self, message: Commit) -> None:
        sure = message.paid_elsewhere or message.payment is not None or self._state.paid or self._ended is not None
        if message.asks and not sure and self._attached_payment is not None:
            raise ApplicationError(
                f"whether {self._attached_payment.id} is made has to be read from Stripe first;"
                ' {"paid_elsewhere": true} sells the hold without it',
                type=PAYMENT_NOT_MADE,
            )

    commit.validator(one(Commit, _check_commit))
    commit_as_told.validator(one(Commit, _check_commit))

    @property
    def _attached_payment(self) -> Payment | None:
        """The payment that the hold's row names. Before it was read: the one that the run was started with."""
        if self._reservation is None:
            return self._state.attached or self._hold.attached
        return self._payment_steps.in_row

    @workflow.update(description="Release the stock and wait for the hold's end")
    async def release(self, message: Cancel) -> Ended:
        """Release the hold. Returns how it ended, which may differ."""
        self._state.record_cancel(message)
        self._state.changed()
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
        self._state.changed()
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
        self._require_open()
        if not self._extensions.has_room(message):
            raise ApplicationError("the browser has no extension left", type=HOLD_EXTEND_LIMIT)
        if not self._extensions.would_gain(message, self._state.deadline, self._ceiling):
            raise ApplicationError("the deadline is already at the ceiling of the hold's life", type=HOLD_EXTEND_LIMIT)

    def _is_written(self, deadline: datetime | None) -> bool:
        if deadline is None or self._written_deadline is None or self._reservation is None or self._ended_elsewhere:
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
