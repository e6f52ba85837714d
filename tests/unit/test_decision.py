"""What the facts about a hold ask for: payment before cancel, cancel before the deadline."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.payments import Payment
from workflows.decision import CheckPayment, ClosePayment, CommitHold, Decision, ExpireHold, ReleaseHold, Wait, decide
from workflows.hold_state import HoldState
from workflows.messages import Cancel, Commit
from workflows.payment_messages import PaymentProcessing

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER, EARLIER = NOW + timedelta(minutes=20), NOW - timedelta(seconds=1)
GRACE = timedelta(days=3)

PAYMENT = Payment(payment_intent_id="pi_1")
SESSION = Payment(session_id="cs_1")
AUTHORISED = Payment("pi_1", "cs_1", needs_capture=True)
COMMIT = Commit(actor="till", reason="order 7")
CANCEL = Cancel(actor="till", reason="changed their mind")
COMMITTED_BY_STRIPE = CommitHold("stripe", "payment", PAYMENT)
SOLD_BY_TILL = CommitHold("till", "order 7", None)
RELEASED = ReleaseHold("till", "changed their mind")


def facts(
    *,
    deadline: datetime = LATER,
    commit: bool = False,
    cancel: bool = False,
    paid: bool = False,
    under_way: bool = False,
) -> HoldState:
    found = HoldState(deadline)
    if commit:
        found.commit = COMMIT
    if paid:
        found.payments[PAYMENT.id] = PAYMENT
    if under_way:
        found.processing[PAYMENT.id] = LATER
    if cancel:
        found.record_cancel(CANCEL)
    return found


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        (facts(), Wait(LATER)),
        (facts(deadline=NOW), ExpireHold()),
        (facts(deadline=EARLIER), ExpireHold()),
        (facts(deadline=NOW + timedelta(microseconds=1)), Wait(NOW + timedelta(microseconds=1))),
        (facts(cancel=True), RELEASED),
        (facts(cancel=True, deadline=EARLIER), RELEASED),
        (facts(commit=True), SOLD_BY_TILL),
        (facts(commit=True, deadline=EARLIER), SOLD_BY_TILL),
        (facts(commit=True, cancel=True), SOLD_BY_TILL),
        (facts(commit=True, cancel=True, deadline=EARLIER), SOLD_BY_TILL),
        (facts(paid=True), COMMITTED_BY_STRIPE),
        (facts(paid=True, deadline=EARLIER), COMMITTED_BY_STRIPE),
        (facts(paid=True, cancel=True), COMMITTED_BY_STRIPE),
        (facts(paid=True, cancel=True, deadline=EARLIER), COMMITTED_BY_STRIPE),
        (facts(paid=True, under_way=True, cancel=True), COMMITTED_BY_STRIPE),
        (facts(paid=True, commit=True), CommitHold("till", "order 7", PAYMENT)),
        (facts(under_way=True), Wait(LATER)),
        (facts(under_way=True, cancel=True), Wait(LATER)),
        (facts(under_way=True, cancel=True, deadline=EARLIER), ExpireHold()),
        (facts(under_way=True, deadline=EARLIER), ExpireHold()),
        (facts(under_way=True, commit=True), SOLD_BY_TILL),
    ],
)
def test_the_facts_ask_for_one_outcome(state: HoldState, outcome: Decision) -> None:
    assert decide(state, NOW) == outcome


def test_asking_changes_no_fact() -> None:
    state = facts(cancel=True, paid=True)
    assert decide(state, NOW) == decide(state, NOW)
    assert state == facts(cancel=True, paid=True)


def test_the_first_of_two_payments_buys_the_hold() -> None:
    state = facts(paid=True)
    state.payments["pi_2"] = Payment(payment_intent_id="pi_2")
    assert decide(state, NOW) == COMMITTED_BY_STRIPE


def test_the_first_cancel_stays() -> None:
    state = facts(cancel=True)
    state.record_cancel(Cancel(actor="another", reason="later"))
    assert decide(state, NOW) == RELEASED


def test_a_payment_under_way_moves_the_deadline_to_its_grace() -> None:
    state = facts()
    state.record_processing(PaymentProcessing(PAYMENT, int(GRACE.total_seconds())), NOW)
    assert decide(state, NOW) == Wait(NOW + GRACE)
    assert decide(state, NOW + GRACE) == ClosePayment(cancelled=False)


def test_the_grace_counts_from_the_first_time_that_the_payment_is_heard_of() -> None:
    state, message = facts(), PaymentProcessing(PAYMENT, int(GRACE.total_seconds()))
    state.record_processing(message, NOW)
    state.record_processing(message, NOW + timedelta(days=1))
    assert state.deadline == NOW + GRACE


def test_a_payment_that_failed_after_the_holds_own_deadline_is_closed_at_once() -> None:
    state = facts()
    state.record_processing(PaymentProcessing(PAYMENT, int(GRACE.total_seconds())), NOW)
    state.end_processing(PAYMENT)
    state.shorten_to_running_graces()
    assert decide(state, NOW) == CheckPayment(PAYMENT)
    assert decide(state, LATER) == ClosePayment(cancelled=False)


def test_a_short_grace_does_not_shorten_the_hold() -> None:
    state = facts()
    state.record_processing(PaymentProcessing(PAYMENT, 1), NOW)
    assert state.deadline == LATER


def test_a_remembered_cancel_goes_ahead_once_the_payment_has_failed() -> None:
    state = facts(under_way=True, cancel=True)
    assert decide(state, NOW) == Wait(LATER)
    state.record_cancel(Cancel(actor="stripe", reason="payment failed", payment=PAYMENT))
    assert decide(state, NOW) == RELEASED


def test_the_end_of_another_payment_does_not_give_back_the_hold() -> None:
    state = facts(under_way=True)
    state.record_cancel(Cancel(actor="stripe", reason="session expired", payment=Payment(session_id="cs_2")))
    assert decide(state, NOW) == Wait(LATER)
    assert state.cancel is None


def test_the_end_of_a_payment_that_the_shop_opened_leaves_nothing_to_close() -> None:
    state = attached()
    state.record_end(SESSION)
    assert decide(state, NOW) == Wait(LATER)
    assert decide(state, LATER) == ExpireHold()
    state.record_processing(PaymentProcessing(PAYMENT, 1), NOW)
    assert decide(state, LATER) == ClosePayment(cancelled=False)


def attached(*, cancel: bool = False, paid: bool = False, commit: bool = False) -> HoldState:
    state = facts(cancel=cancel, paid=paid, commit=commit)
    state.attach(SESSION)
    return state


def test_stock_is_given_back_only_once_nobody_can_pay_any_more() -> None:
    for state, closes, then in (
        (attached(cancel=True), ClosePayment(cancelled=True), RELEASED),
        (attached(), ClosePayment(cancelled=False), ExpireHold()),
    ):
        state.deadline = NOW
        assert decide(state, NOW) == closes
        state.closed = True
        assert decide(state, NOW) == then


def test_a_session_that_may_be_open_already_is_waited_for() -> None:
    state = facts(cancel=True)
    state.opening = True
    assert decide(state, NOW) == ClosePayment(cancelled=True)


def test_a_payment_or_commit_sells_while_the_payment_is_being_closed() -> None:
    assert decide(attached(cancel=True, paid=True), NOW) == COMMITTED_BY_STRIPE
    assert decide(attached(cancel=True, commit=True), NOW) == SOLD_BY_TILL


def test_what_is_authorised_after_a_cancel_is_closed_and_sells_nothing() -> None:
    state = attached(cancel=True)
    state.closed = True
    state.record_payment(AUTHORISED)
    assert decide(state, NOW) == ClosePayment(cancelled=True)
    assert state.attached is not None
    assert state.attached.is_same(AUTHORISED)
    state.record_payment(PAYMENT)  # somebody has captured it by hand
    assert decide(state, NOW) == COMMITTED_BY_STRIPE


def test_what_was_authorised_before_the_cancel_sells() -> None:
    state = attached()
    state.record_payment(AUTHORISED)
    state.record_cancel(CANCEL)
    assert decide(state, NOW) == CommitHold("stripe", "payment", AUTHORISED)


def test_a_declined_attempt_tells_of_a_payment_payable() -> None:
    state = facts()
    state.record_failed_attempt(PAYMENT, "evt_1")
    assert decide(state, NOW) == Wait(LATER)
    assert decide(state, LATER) == ClosePayment(cancelled=False)


def test_a_payment_of_which_nobody_knows_how_it_stands_is_looked_at() -> None:
    state = facts()
    state.record_processing(PaymentProcessing(PAYMENT), NOW)
    assert decide(state, NOW) == CheckPayment(PAYMENT)


def test_the_end_of_the_attached_payment_needs_no_further_closing() -> None:
    state = attached()
    state.record_cancel(Cancel("stripe", "checkout_session_expired", SESSION))
    assert decide(state, NOW) == ReleaseHold("stripe", "checkout_session_expired")


def test_a_payment_is_known_by_its_intent_and_by_its_session_until_there_is_one() -> None:
    assert Payment(payment_intent_id="pi_1", session_id="cs_1").id == "pi_1"
    assert Payment(session_id="cs_1").id == "cs_1"
