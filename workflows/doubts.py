"""Payments that may be for the items from before a change: which of them a run doubts, by the release it began with."""

from dataclasses import replace

from temporalio import workflow

from domain.payments import Payment
from workflows.hold_state import HoldState
from workflows.patches import DOUBTS_EARLIER_PAGES, DOUBTS_RECOVERED_PAGES, DOUBTS_UNDER_WAY


def doubted(state: HoldState, payment: Payment) -> bool:
    """Return whether a payment that is under way, or that Stripe was asked about, may be for earlier items."""
    return state.doubts(payment) and workflow.patched(DOUBTS_UNDER_WAY)


def record_succeeded(state: HoldState, payment: Payment) -> None:
    """Record a payment that a message says is made."""
    patch = DOUBTS_UNDER_WAY if payment.is_same(state.attached) else DOUBTS_EARLIER_PAGES
    if not state.doubts(payment) or not workflow.patched(patch):
        state.record_payment(payment)
        return
    payment = _unless_replayed(payment)
    if _takes_each_copy_for_earlier(state, payment):
        state.withdraw(payment)
    else:
        state.record_doubted(payment)


def resolve(state: HoldState, payment: Payment) -> None:
    """Record a payment that is made and whose first page, if it has one, was read from Stripe."""
    payment = _unless_replayed(payment)
    if _takes_each_copy_for_earlier(state, payment):
        state.withdraw(payment)
    else:
        state.resolve_doubt(payment)


def _takes_each_copy_for_earlier(state: HoldState, payment: Payment) -> bool:
    """Return whether an earlier release, which withdrew each copy, went on with the run."""
    is_other_copy = payment.recovered_from is not None and not state.is_for_earlier_items(payment)
    return is_other_copy and not workflow.patched(DOUBTS_UNDER_WAY)


def _unless_replayed(payment: Payment) -> Payment:
    """Return the payment; in a run that an earlier release went on with, without what that did not look at."""
    if payment.recovered_from is None or workflow.patched(DOUBTS_RECOVERED_PAGES):
        return payment
    return replace(payment, recovered_from=None)
