"""The next step of a hold: a pure function of its state and the time, evaluated again after every message."""

from dataclasses import dataclass
from datetime import datetime

from domain.holds import Line
from domain.payments import Payment
from workflows.hold_state import HoldState
from workflows.messages import Amend, Attach, MakeWay


@dataclass(frozen=True)
class CommitHold:
    """End the hold as committed."""

    actor: str
    reason: str
    payment: Payment | None
    sold: tuple[Line, ...] | None = None
    """The units to sell; None for all."""
    paid_elsewhere: bool = False


@dataclass(frozen=True)
class ReleaseHold:
    """End the hold as released."""

    actor: str
    reason: str


@dataclass(frozen=True)
class ExpireHold:
    """End the hold as expired."""


@dataclass(frozen=True)
class ClosePayment:
    """Close the payment, so that nobody can pay any more, or learn that somebody has paid."""

    cancelled: bool
    """Whether the hold was cancelled. Otherwise its deadline has passed, and an authorised payment still commits it."""


@dataclass(frozen=True)
class AttachPayment:
    """Check the payment that the shop opened, and attach it."""

    request: Attach


@dataclass(frozen=True)
class ChangeHold:
    """Make a change of the hold."""

    request: Amend | MakeWay


@dataclass(frozen=True)
class CheckPayment:
    """Read the status of a payment from Stripe."""

    payment: Payment


@dataclass(frozen=True)
class Wait:
    """Do nothing before this time, unless a message arrives."""

    until: datetime


Decision = CommitHold | ReleaseHold | ExpireHold | ClosePayment | AttachPayment | ChangeHold | CheckPayment | Wait


def decide(state: HoldState, now: datetime) -> Decision:
    """Return the next step: payment or commit before cancel, cancel before the deadline.

    An extension has moved `state.deadline` already when it was recorded, so it wins over the deadline of the same
    moment. A cancel waits while a payment is processing, since the money may still come. Neither cancel nor deadline
    releases stock while somebody could still pay for it.
    """
    if state.paid:
        return _sale(state)
    if (end := _end_without_sale(state, now)) is not None:
        return ClosePayment(cancelled=state.cancel is not None) if state.payable else end
    return _requested(state) or Wait(state.deadline)


def _requested(state: HoldState) -> AttachPayment | ChangeHold | CheckPayment | None:
    if state.attach_requests:
        return AttachPayment(state.attach_requests[0])
    if state.changes and not state.opening:  # what is being opened has to be closed first
        return ChangeHold(state.changes[0])
    if state.doubtful:
        return CheckPayment(next(iter(state.doubtful.values())))
    if state.unchecked:
        return CheckPayment(next(iter(state.unchecked.values())))
    return None


def _sale(state: HoldState) -> CommitHold:
    payment = next(iter(state.payments.values()), None)
    if state.commit is None:
        return CommitHold("stripe", "payment", payment)
    if not state.commit.of_payment:
        payment = None  # it came after the commit, and nobody knows what it is for
    return CommitHold(state.commit.actor, state.commit.reason, payment, state.commit.items, state.commit.paid_elsewhere)


def _end_without_sale(state: HoldState, now: datetime) -> ReleaseHold | ExpireHold | None:
    due = now >= state.deadline
    # Closing the session at the deadline makes Stripe report that it expired: the reason of the end is the deadline.
    reported_by_stripe = state.cancel is not None and state.cancel.payment is not None and due
    if state.cancel is not None and not state.processing and not reported_by_stripe:
        return ReleaseHold(state.cancel.actor, state.cancel.reason)
    return ExpireHold() if due else None
