"""What to do next with a hold: a pure function of the facts and the time, asked again after every event."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from workflows.messages import Cancel, Commit, Payment, PaymentProcessing


@dataclass
class Facts:
    """All that has been heard about a hold. Handlers write here; only `decide` draws conclusions."""

    deadline: datetime
    commit: Commit | None = None
    cancel: Cancel | None = None
    payments: dict[str, Payment] = field(default_factory=dict)
    processing: dict[str, datetime] = field(default_factory=dict)
    """Payments under way, each with the end of its grace."""
    failed_attempts: int = 0

    @property
    def paid(self) -> bool:
        """Whether something has come that sells the hold."""
        return self.commit is not None or bool(self.payments)

    def hear_processing(self, message: PaymentProcessing, now: datetime) -> None:
        """Note a payment under way. Its grace counts from the first time it is heard of."""
        grace_ends = now + timedelta(seconds=message.grace_seconds)
        self.deadline = max(self.deadline, self.processing.setdefault(message.payment.id, grace_ends))

    def hear_cancel(self, message: Cancel) -> None:
        """Note a cancel; the first stays. One about a payment counts only for the hold's own, or when it has none."""
        if message.payment is not None:
            if self.processing and message.payment.id not in self.processing:
                return
            self.processing.pop(message.payment.id, None)
        self.cancel = self.cancel or message


@dataclass(frozen=True)
class Sell:
    """End the hold as committed."""

    actor: str
    reason: str
    payment_id: str | None


@dataclass(frozen=True)
class GiveBack:
    """End the hold as released."""

    actor: str
    reason: str


@dataclass(frozen=True)
class Expire:
    """End the hold as expired."""


@dataclass(frozen=True)
class Wait:
    """Nothing to do before this time, unless something is heard."""

    until: datetime


Outcome = Sell | GiveBack | Expire | Wait


def decide(facts: Facts, now: datetime) -> Outcome:
    """Return what the facts ask for: payment or commit before cancel, cancel before the deadline.

    An extension has moved `facts.deadline` already when it was heard, so it beats the deadline of the same moment.
    A cancel waits while a payment is under way: the money may still come.
    """
    if facts.paid:
        payment = next(iter(facts.payments), None)
        if facts.commit is not None:
            return Sell(facts.commit.actor, facts.commit.reason, payment)
        return Sell("stripe", "payment", payment)
    if facts.cancel is not None and not facts.processing:
        return GiveBack(facts.cancel.actor, facts.cancel.reason)
    if now >= facts.deadline:
        return Expire()
    return Wait(facts.deadline)
