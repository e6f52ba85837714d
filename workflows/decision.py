"""What to do next with a hold: a pure function of the facts and the time, asked again after every event."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from domain.payments import Payment
from workflows.messages import Attach, Cancel, Commit
from workflows.payment_messages import PaymentProcessing


@dataclass
class Facts:
    """All that has been heard about a hold. Handlers write here; only `decide` draws conclusions."""

    deadline: datetime
    commit: Commit | None = None
    cancel: Cancel | None = None
    payments: dict[str, Payment] = field(default_factory=dict)
    """Payments that were made, or are authorised, each of which sells the hold."""
    withdrawn: dict[str, Payment] = field(default_factory=dict)
    """Payments that were authorised only after the cancel: nobody wants them, so they are cancelled, not captured."""
    processing: dict[str, datetime] = field(default_factory=dict)
    """Payments under way, each with the end of its grace."""
    failed: set[str] = field(default_factory=set)
    """Declined attempts, by the id of the event."""
    attached: Payment | None = None
    """The payment that has to be closed before the stock may be given back."""
    opening: bool = False
    """Whether a Checkout Session is being opened, so that there may be one whose id is not known yet."""
    closed: bool = False
    """Whether the attached payment can no longer be made."""
    in_doubt: dict[str, Payment] = field(default_factory=dict)
    """Payments of which Stripe has to say how they stand."""
    to_attach: list[Attach] = field(default_factory=list)

    @property
    def paid(self) -> bool:
        """Whether something has come that sells the hold."""
        return self.commit is not None or bool(self.payments)

    @property
    def to_close(self) -> bool:
        """Whether somebody could still pay."""
        return self.opening or (self.attached is not None and not self.closed)

    def hear_payment(self, payment: Payment) -> None:
        """Note a payment. One that is only authorised sells nothing once a cancel is known: it is closed as well.

        Unless another is being closed: that one could be paid for stock that is given back. What is left of the
        withdrawn when the hold has ended is looked after like any payment that came too late.
        """
        if payment.needs_capture and self.cancel is not None and not self.paid:
            self.withdrawn[payment.id] = payment
            if not self.to_close:
                self.attach(payment)
            return
        self.in_doubt.pop(payment.id, None)
        self.withdrawn.pop(payment.id, None)
        if payment.id not in self.payments or not payment.needs_capture:
            self.payments[payment.id] = payment

    def hear_attempt(self, payment: Payment, event_id: str) -> None:
        """Note a declined attempt. The shopper can try again, so there is a payment to close."""
        self.failed.add(event_id)
        if self.attached is None:
            self.attach(payment)

    def hear_processing(self, message: PaymentProcessing, now: datetime) -> None:
        """Note a payment under way. Its grace counts from the first time it is heard of."""
        payment = message.payment
        if self.attached is None:
            self.attach(payment)
        if message.grace_seconds is None:
            if payment.id not in self.processing:
                self.in_doubt[payment.id] = payment
            return
        self.in_doubt.pop(payment.id, None)
        grace_ends = self.processing.setdefault(payment.id, now + timedelta(seconds=message.grace_seconds))
        self.deadline = max(self.deadline, grace_ends)

    def hear_cancel(self, message: Cancel) -> None:
        """Note a cancel; the first stays. One about a payment counts only for the hold's own, or when it has none."""
        if message.payment is not None:
            self.withdrawn.pop(message.payment.id, None)
            if not self._concerns(message.payment):
                return
            self.processing.pop(message.payment.id, None)
            self.in_doubt.pop(message.payment.id, None)
            if self.attached is not None and not message.payment.is_same(self.attached):
                return  # the hold's own can still be made
            self.closed = True
        self.cancel = self.cancel or message

    def hear_unpayable(self, payment: Payment) -> None:
        """Note that a payment can no longer be made. The hold's own is closed by that, another one is not."""
        self.processing.pop(payment.id, None)
        self.withdrawn.pop(payment.id, None)
        if self.attached is not None and payment.is_same(self.attached):
            self.closed = True

    def attach(self, payment: Payment) -> None:
        """Take note of the payment that has to be closed before the stock may be given back."""
        if self.attached is not None and self.attached.is_same(payment):
            payment = Payment(
                payment.payment_intent_id or self.attached.payment_intent_id,
                payment.session_id or self.attached.session_id,
            )
        self.attached, self.closed = payment, False

    def _concerns(self, payment: Payment) -> bool:
        if self.attached is None and not self.processing:
            return True
        return payment.id in self.processing or (self.attached is not None and payment.is_same(self.attached))


@dataclass(frozen=True)
class Sell:
    """End the hold as committed."""

    actor: str
    reason: str
    payment: Payment | None


@dataclass(frozen=True)
class GiveBack:
    """End the hold as released."""

    actor: str
    reason: str


@dataclass(frozen=True)
class Expire:
    """End the hold as expired."""


@dataclass(frozen=True)
class Close:
    """See to it that nobody can pay any more, or learn that somebody has."""

    give_back: bool
    """Whether the hold was cancelled; else its time is up, and a payment that is authorised still buys it."""


@dataclass(frozen=True)
class AttachNext:
    """Look at the payment that the shop opened, and make it the hold's."""

    asked: Attach


@dataclass(frozen=True)
class Look:
    """Ask Stripe how a payment stands."""

    payment: Payment


@dataclass(frozen=True)
class Wait:
    """Nothing to do before this time, unless something is heard."""

    until: datetime


Outcome = Sell | GiveBack | Expire | Close | AttachNext | Look | Wait


def decide(facts: Facts, now: datetime) -> Outcome:
    """Return what the facts ask for: payment or commit before cancel, cancel before the deadline.

    An extension has moved `facts.deadline` already when it was heard, so it beats the deadline of the same moment.
    A cancel waits while a payment is under way: the money may still come. Neither cancel nor deadline gives stock
    back while somebody could still pay for it.
    """
    if facts.paid:
        payment = next(iter(facts.payments.values()), None)
        if facts.commit is not None:
            return Sell(facts.commit.actor, facts.commit.reason, payment)
        return Sell("stripe", "payment", payment)
    if (end := _end_without_sale(facts, now)) is not None:
        return Close(give_back=facts.cancel is not None) if facts.to_close else end
    if facts.to_attach:
        return AttachNext(facts.to_attach[0])
    if facts.in_doubt:
        return Look(next(iter(facts.in_doubt.values())))
    return Wait(facts.deadline)


def _end_without_sale(facts: Facts, now: datetime) -> GiveBack | Expire | None:
    due = now >= facts.deadline
    # Closing the page at the deadline makes Stripe say that it expired: that word ends nothing, the deadline did.
    only_told = facts.cancel is not None and facts.cancel.payment is not None and due
    if facts.cancel is not None and not facts.processing and not only_told:
        return GiveBack(facts.cancel.actor, facts.cancel.reason)
    return Expire() if due else None
