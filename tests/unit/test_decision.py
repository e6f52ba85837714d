"""What the facts about a hold ask for: payment before cancel, cancel before the deadline."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.payments import Payment
from workflows.decision import Close, Expire, Facts, GiveBack, Look, Outcome, Sell, Wait, decide
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
SOLD_BY_STRIPE = Sell("stripe", "payment", PAYMENT)
SOLD_BY_TILL = Sell("till", "order 7", None)
GIVEN_BACK = GiveBack("till", "changed their mind")


def facts(
    *,
    deadline: datetime = LATER,
    commit: bool = False,
    cancel: bool = False,
    paid: bool = False,
    under_way: bool = False,
) -> Facts:
    found = Facts(deadline)
    if commit:
        found.commit = COMMIT
    if paid:
        found.payments[PAYMENT.id] = PAYMENT
    if under_way:
        found.processing[PAYMENT.id] = LATER
    if cancel:
        found.hear_cancel(CANCEL)
    return found


@pytest.mark.parametrize(
    ("heard", "outcome"),
    [
        (facts(), Wait(LATER)),
        (facts(deadline=NOW), Expire()),
        (facts(deadline=EARLIER), Expire()),
        (facts(deadline=NOW + timedelta(microseconds=1)), Wait(NOW + timedelta(microseconds=1))),
        (facts(cancel=True), GIVEN_BACK),
        (facts(cancel=True, deadline=EARLIER), GIVEN_BACK),
        (facts(commit=True), SOLD_BY_TILL),
        (facts(commit=True, deadline=EARLIER), SOLD_BY_TILL),
        (facts(commit=True, cancel=True), SOLD_BY_TILL),
        (facts(commit=True, cancel=True, deadline=EARLIER), SOLD_BY_TILL),
        (facts(paid=True), SOLD_BY_STRIPE),
        (facts(paid=True, deadline=EARLIER), SOLD_BY_STRIPE),
        (facts(paid=True, cancel=True), SOLD_BY_STRIPE),
        (facts(paid=True, cancel=True, deadline=EARLIER), SOLD_BY_STRIPE),
        (facts(paid=True, under_way=True, cancel=True), SOLD_BY_STRIPE),
        (facts(paid=True, commit=True), Sell("till", "order 7", PAYMENT)),
        (facts(under_way=True), Wait(LATER)),
        (facts(under_way=True, cancel=True), Wait(LATER)),
        (facts(under_way=True, cancel=True, deadline=EARLIER), Expire()),
        (facts(under_way=True, deadline=EARLIER), Expire()),
        (facts(under_way=True, commit=True), SOLD_BY_TILL),
    ],
)
def test_the_facts_ask_for_one_outcome(heard: Facts, outcome: Outcome) -> None:
    assert decide(heard, NOW) == outcome


def test_asking_changes_no_fact() -> None:
    heard = facts(cancel=True, paid=True)
    assert decide(heard, NOW) == decide(heard, NOW)
    assert heard == facts(cancel=True, paid=True)


def test_the_first_of_two_payments_buys_the_hold() -> None:
    heard = facts(paid=True)
    heard.payments["pi_2"] = Payment(payment_intent_id="pi_2")
    assert decide(heard, NOW) == SOLD_BY_STRIPE


def test_the_first_cancel_stays() -> None:
    heard = facts(cancel=True)
    heard.hear_cancel(Cancel(actor="another", reason="later"))
    assert decide(heard, NOW) == GIVEN_BACK


def test_a_payment_under_way_moves_the_deadline_to_its_grace() -> None:
    heard = facts()
    heard.hear_processing(PaymentProcessing(PAYMENT, int(GRACE.total_seconds())), NOW)
    assert decide(heard, NOW) == Wait(NOW + GRACE)
    assert decide(heard, NOW + GRACE) == Close(give_back=False)


def test_the_grace_counts_from_the_first_time_that_the_payment_is_heard_of() -> None:
    heard, message = facts(), PaymentProcessing(PAYMENT, int(GRACE.total_seconds()))
    heard.hear_processing(message, NOW)
    heard.hear_processing(message, NOW + timedelta(days=1))
    assert heard.deadline == NOW + GRACE


def test_a_short_grace_does_not_shorten_the_hold() -> None:
    heard = facts()
    heard.hear_processing(PaymentProcessing(PAYMENT, 1), NOW)
    assert heard.deadline == LATER


def test_a_remembered_cancel_goes_ahead_once_the_payment_has_failed() -> None:
    heard = facts(under_way=True, cancel=True)
    assert decide(heard, NOW) == Wait(LATER)
    heard.hear_cancel(Cancel(actor="stripe", reason="payment failed", payment=PAYMENT))
    assert decide(heard, NOW) == GIVEN_BACK


def test_the_end_of_another_payment_does_not_give_back_the_hold() -> None:
    heard = facts(under_way=True)
    heard.hear_cancel(Cancel(actor="stripe", reason="session expired", payment=Payment(session_id="cs_2")))
    assert decide(heard, NOW) == Wait(LATER)
    assert heard.cancel is None


def test_the_end_of_the_only_payment_gives_back_the_hold() -> None:
    heard = facts()
    heard.hear_cancel(Cancel(actor="stripe", reason="session expired", payment=Payment(session_id="cs_1")))
    assert decide(heard, NOW) == GiveBack("stripe", "session expired")


def attached(*, cancel: bool = False, paid: bool = False, commit: bool = False) -> Facts:
    heard = facts(cancel=cancel, paid=paid, commit=commit)
    heard.attach(SESSION)
    return heard


def test_stock_is_given_back_only_once_nobody_can_pay_any_more() -> None:
    for heard, closes, then in (
        (attached(cancel=True), Close(give_back=True), GIVEN_BACK),
        (attached(), Close(give_back=False), Expire()),
    ):
        heard.deadline = NOW
        assert decide(heard, NOW) == closes
        heard.closed = True
        assert decide(heard, NOW) == then


def test_a_session_that_may_be_open_already_is_waited_for() -> None:
    heard = facts(cancel=True)
    heard.opening = True
    assert decide(heard, NOW) == Close(give_back=True)


def test_a_payment_or_commit_sells_while_the_payment_is_being_closed() -> None:
    assert decide(attached(cancel=True, paid=True), NOW) == SOLD_BY_STRIPE
    assert decide(attached(cancel=True, commit=True), NOW) == SOLD_BY_TILL


def test_what_is_authorised_after_a_cancel_is_closed_and_sells_nothing() -> None:
    heard = attached(cancel=True)
    heard.closed = True
    heard.hear_payment(AUTHORISED)
    assert decide(heard, NOW) == Close(give_back=True)
    assert heard.attached is not None
    assert heard.attached.is_same(AUTHORISED)
    heard.hear_payment(PAYMENT)  # somebody has captured it by hand
    assert decide(heard, NOW) == SOLD_BY_STRIPE


def test_what_was_authorised_before_the_cancel_sells() -> None:
    heard = attached()
    heard.hear_payment(AUTHORISED)
    heard.hear_cancel(CANCEL)
    assert decide(heard, NOW) == Sell("stripe", "payment", AUTHORISED)


def test_a_declined_attempt_tells_of_a_payment_to_close() -> None:
    heard = facts()
    heard.hear_attempt(PAYMENT, "evt_1")
    assert decide(heard, NOW) == Wait(LATER)
    assert decide(heard, LATER) == Close(give_back=False)


def test_a_payment_of_which_nobody_knows_how_it_stands_is_looked_at() -> None:
    heard = facts()
    heard.hear_processing(PaymentProcessing(PAYMENT), NOW)
    assert decide(heard, NOW) == Look(PAYMENT)


def test_the_end_of_the_attached_payment_needs_no_further_closing() -> None:
    heard = attached()
    heard.hear_cancel(Cancel("stripe", "checkout_session_expired", SESSION))
    assert decide(heard, NOW) == GiveBack("stripe", "checkout_session_expired")


def test_a_payment_is_known_by_its_intent_and_by_its_session_until_there_is_one() -> None:
    assert Payment(payment_intent_id="pi_1", session_id="cs_1").id == "pi_1"
    assert Payment(session_id="cs_1").id == "cs_1"
