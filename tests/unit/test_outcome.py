"""What the facts about a hold ask for: payment before cancel, cancel before the deadline."""

from datetime import UTC, datetime, timedelta

import pytest

from workflows.messages import Cancel, Commit, Payment, PaymentProcessing
from workflows.outcome import Expire, Facts, GiveBack, Outcome, Sell, Wait, decide

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER, EARLIER = NOW + timedelta(minutes=20), NOW - timedelta(seconds=1)
GRACE = timedelta(days=3)

PAYMENT = Payment(payment_intent_id="pi_1")
COMMIT = Commit(actor="till", reason="order 7")
CANCEL = Cancel(actor="till", reason="changed their mind")
SOLD_BY_STRIPE = Sell("stripe", "payment", "pi_1")
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
        (facts(paid=True, commit=True), Sell("till", "order 7", "pi_1")),
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
    assert decide(heard, NOW + GRACE) == Expire()


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


def test_a_payment_is_known_by_its_intent_and_by_its_session_until_there_is_one() -> None:
    assert Payment(payment_intent_id="pi_1", session_id="cs_1").id == "pi_1"
    assert Payment(session_id="cs_1").id == "cs_1"
