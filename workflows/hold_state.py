"""Everything that a hold's workflow knows. Handlers record into it; only `decide` draws conclusions."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from domain.payments import Payment
from workflows.messages import Amend, Attach, Cancel, Commit, MakeWay
from workflows.payment_messages import PaymentProcessing


@dataclass
class HoldState:
    """The messages that arrived and what Stripe said. Recording a message twice changes nothing."""

    deadline: datetime
    """When the hold ends unless something else does: the later of its own deadline and the running grace periods."""
    commit: Commit | None = None
    cancel: Cancel | None = None
    payments: dict[str, Payment] = field(default_factory=dict)
    """Payments that are paid or authorised, by id. Each of them commits the hold."""
    withdrawn: dict[str, Payment] = field(default_factory=dict)
    """Payments that were authorised after the cancel: they are cancelled, not captured."""
    processing: dict[str, datetime] = field(default_factory=dict)
    """Payments that are processing, each with the end of its grace period."""
    failed: set[str] = field(default_factory=set)
    """Declined attempts, by the id of the event."""
    attached: Payment | None = None
    """The payment that has to be closed before the stock may be released."""
    page: Payment | None = None
    """The session that Holdfast opened, unless another payment takes its place: its end releases the hold."""
    opening: bool = False
    """Whether a Checkout Session is being opened, so that one may exist whose id is not known yet."""
    closed: bool = False
    """Whether the attached payment can no longer be made."""
    unchecked: dict[str, Payment] = field(default_factory=dict)
    """Payments whose status has to be read from Stripe."""
    detached: list[Payment] = field(default_factory=list)
    """Payments that were closed so that the hold could change. One that was under way all the same does not buy it."""
    doubtful: dict[str, Payment] = field(default_factory=dict)
    """Payments that were made, maybe on a page that was closed for a change: Stripe tells their session."""
    attach_requests: list[Attach] = field(default_factory=list)
    changes: list[Amend | MakeWay] = field(default_factory=list)
    """Changes that were requested and are not made yet, in the order of their arrival."""
    version: int = field(default=0, compare=False)
    """Grows with each change after which `decide` is to be evaluated again."""
    own_deadline: datetime = field(init=False)
    """The deadline without any grace period: as made and extended."""

    def __post_init__(self) -> None:
        """Start without a grace period."""
        self.own_deadline = self.deadline

    def changed(self) -> None:
        """Have `decide` evaluated again."""
        self.version += 1

    @property
    def grace_ended_early(self) -> bool:
        """Whether the deadline still waits for a grace period whose payment is no longer processing."""
        return self.deadline > self._latest_end()

    def shorten_to_running_graces(self) -> None:
        """Move the deadline back to the later of the hold's own and the grace periods that still run."""
        self.deadline = self._latest_end()

    def _latest_end(self) -> datetime:
        return max([self.own_deadline, *self.processing.values()])

    @property
    def paid(self) -> bool:
        """Whether a commit or a payment has arrived."""
        return self.commit is not None or bool(self.payments)

    @property
    def in_progress(self) -> bool:
        """Whether a payment is processing, so that days may pass until it is known whether the hold is sold."""
        return bool(self.processing) and not self.paid

    @property
    def payable(self) -> bool:
        """Whether somebody could still pay."""
        return self.opening or (self.attached is not None and not self.closed)

    def record_payment(self, payment: Payment) -> None:
        """Record a payment. One that is only authorised does not commit a cancelled hold: it is closed as well.

        Unless another payment is being closed: that one could be paid for stock that is released. A withdrawn payment
        that is left when the hold has ended is handled like any late payment.
        """
        if payment.needs_capture and self.cancel is not None and not self.paid:
            self.withdrawn[payment.id] = payment
            if not self.payable:
                self.attach(payment)
            return
        self.unchecked.pop(payment.id, None)
        self.withdrawn.pop(payment.id, None)
        if payment.id not in self.payments or not payment.needs_capture:
            self.payments[payment.id] = payment

    def doubts(self, payment: Payment) -> bool:
        """Return whether the payment may be for the items from before a change."""
        if not self.detached:
            return False
        is_copy = payment.recovered_from is not None
        return is_copy or not payment.is_same(self.attached) or self.is_for_earlier_items(payment)

    def is_for_earlier_items(self, payment: Payment) -> bool:
        """Return whether the payment, or the page of which its page is a copy, was closed for a change."""
        page = Payment(session_id=payment.recovered_from)
        return any(payment.is_same(each) or page.is_same(each) for each in self.detached)

    def record_doubted(self, payment: Payment) -> None:
        """Record a payment that may be for earlier items: such a one buys nothing. Its page may have to be found."""
        if payment.is_same(self.attached):
            self.closed = True  # it is made; while its page is looked for, nobody need close it
        is_traced = payment.session_id is not None and payment.recovered_from is None
        if is_traced or self.is_for_earlier_items(payment):
            self.resolve_doubt(payment)
        else:
            self.doubtful[payment.id] = payment

    def resolve_doubt(self, payment: Payment) -> None:
        """Record a payment whose first page, if it has one, is known: for earlier items, if that was closed."""
        if self.is_for_earlier_items(payment):
            self.withdraw(payment)
        else:
            self.doubtful.pop(payment.id, None)
            self.record_payment(payment)

    def withdraw(self, payment: Payment) -> None:
        """Record a payment that is made and does not buy the hold."""
        self.doubtful.pop(payment.id, None)
        self.withdrawn[payment.id] = payment

    def record_doubted_processing(self, payment: Payment) -> None:
        """Record a payment that is processing, maybe for earlier items: the stock waits only once its page is known."""
        if payment.id not in self.processing:
            self.unchecked[payment.id] = payment

    def end_wait_for(self, payment: Payment) -> None:
        """Record that the stock does not wait for a payment, although it is processing: it is for earlier items."""
        self.processing.pop(payment.id, None)
        if payment.is_same(self.attached):
            self.closed = True

    def record_failed_attempt(self, payment: Payment, event_id: str, *, doubted: bool = False) -> None:
        """Record a declined attempt. The shopper can try again, so there is a payment to close.

        One that is `doubted` is attached only once its page is known: an attached payment buys the present items.
        """
        self.failed.add(event_id)
        if doubted:
            self.unchecked[payment.id] = payment
        elif self.attached is None:
            self.attach(payment)

    def record_traced_open(self, payment: Payment) -> None:
        """Record that a payment whose first page is known can still be made, so that there is one to close."""
        if self.attached is None and not self.is_for_earlier_items(payment):
            self.attach(payment)

    def end_processing(self, payment: Payment) -> None:
        """Record that a processing payment failed. Its status is read again, because the event may be an old one."""
        del self.processing[payment.id]
        self.unchecked[payment.id] = payment

    def record_processing(self, message: PaymentProcessing, now: datetime) -> None:
        """Record a processing payment. Its grace period counts from the first such message."""
        payment = message.payment
        if self.attached is None:
            self.attach(payment)
        if message.grace_seconds is None:
            if payment.id not in self.processing:
                self.unchecked[payment.id] = payment
            return
        self.unchecked.pop(payment.id, None)
        grace_ends = self.processing.setdefault(payment.id, now + timedelta(seconds=message.grace_seconds))
        self.deadline = max(self.deadline, grace_ends)

    def record_commit(self, message: Commit) -> None:
        """Record a commit; the first one stays.

        One of a part, or of what was paid elsewhere, comes too late once a payment has bought all.
        """
        if message.of_payment or not self.payments:
            self.commit = self.commit or message
        if message.payment is not None and self.commit is not None and self.commit.of_payment:
            self.record_payment(message.payment)

    def record_cancel(self, message: Cancel) -> None:
        """Record a cancel; the first one stays.

        The end of a payment counts only if it is the hold's own payment, or if the hold has none.
        """
        if message.payment is not None:
            self.withdrawn.pop(message.payment.id, None)
            if not self._concerns(message.payment):
                return
            self.processing.pop(message.payment.id, None)
            self.unchecked.pop(message.payment.id, None)
            if self.attached is not None and not message.payment.is_same(self.attached):
                return  # the hold's own payment can still be made
            self.closed = True
        self.cancel = self.cancel or message

    def record_end(self, payment: Payment) -> None:
        """Record that a payment of the shop's own has ended. The hold waits for another one until its deadline."""
        self.record_unpayable(payment)
        self.unchecked.pop(payment.id, None)
        if payment.is_same(self.attached):
            self.attached = None

    def record_unpayable(self, payment: Payment) -> None:
        """Record that a payment can no longer be made."""
        self.processing.pop(payment.id, None)
        self.withdrawn.pop(payment.id, None)
        if payment.is_same(self.attached):
            self.closed = True

    def extend_to(self, deadline: datetime) -> None:
        """Move the deadline there unless it is later already."""
        self.own_deadline = max(self.own_deadline, deadline)
        self.deadline = max(self.deadline, deadline)

    def detach(self, payment: Payment | None) -> None:
        """Record that the hold has no payment any more: the one that was attached, if any, cannot be made."""
        if payment is not None:
            self.detached.append(payment)
        self.attached = self.page = None
        self.closed = False

    def attach(self, payment: Payment) -> None:
        """Make it the payment that has to be closed before the stock may be released."""
        if self.attached is not None and self.attached.is_same(payment):
            payment = Payment(
                payment.payment_intent_id or self.attached.payment_intent_id,
                payment.session_id or self.attached.session_id,
            )
        self.attached, self.closed = payment, False

    def _concerns(self, payment: Payment) -> bool:
        if self.attached is None and not self.processing:
            return True
        return payment.id in self.processing or payment.is_same(self.attached)
