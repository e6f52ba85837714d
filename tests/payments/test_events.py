"""What each of Stripe's events does to a hold: the table of docs/integration.md, row by row, by real signed webhooks.

In each test the simulator sends only the events of its row: what another one would do as well proves nothing.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dev.harness.invariants import assert_stock_adds_up
from payments.grace_periods import GRACE_SECONDS_BY_METHOD
from tests.paying import LINE, Shop, event, named
from tests.payments.endings import counted, only
from tests.waiting import until
from workflows.hold import HoldWorkflow
from workflows.messages import Cancel

Made = dict[str, Any]


@pytest.fixture
async def shop(corner: Shop) -> Shop:
    return corner


async def sold(shop: Shop, made: Made) -> dict[str, Any]:
    """Wait until the hold is sold; check that its stock left the house once and its money is in Stripe's books."""
    hold = await shop.until_status(made["holdId"], "committed")
    assert await shop.stock() == (9, 0)
    books = await shop.stripe.books(made["checkoutSessionId"])
    await until(lambda: _is_captured(shop, made), "captured")
    assert (books["refunded"], hold["paymentIntentId"]) == (0, books["payment_intent"])
    await assert_stock_adds_up(shop.stack.engine)
    return hold


async def _is_captured(shop: Shop, made: Made) -> bool:
    return bool((await shop.stripe.books(made["checkoutSessionId"]))["captured"] == LINE["unitAmount"])


def line(currency: str, amount: int = 1999) -> dict[str, Any]:
    return {**LINE, "currency": currency, "unitAmount": amount}


async def checkout_in(shop: Shop, currency: str, amount: int = 1999, **fields: Any) -> Made:
    return await shop.checkout(items=[{**line(currency, amount), "sku": shop.item}], **fields)


async def lives_for(shop: Shop, hold_id: str, seconds: int) -> bool:
    """Tell whether the hold's deadline is that far off, give or take a minute."""
    expires_at = datetime.fromisoformat((await shop.stack.read(hold_id))["expiresAt"])
    return abs(expires_at - datetime.now(UTC) - timedelta(seconds=seconds)) < timedelta(minutes=1)


async def until_it_lives_for(shop: Shop, hold_id: str, seconds: int) -> None:
    await until(lambda: lives_for(shop, hold_id, seconds), f"{hold_id} lives for {seconds} s")


# checkout.session.completed, paid


async def test_a_completed_session_that_is_paid_sells(shop: Shop) -> None:
    await only(shop, "checkout.session.completed")
    made = await shop.checkout()
    await shop.pay(made["checkoutSessionId"])
    hold = await sold(shop, made)
    assert (hold["reason"], hold["checkoutSessionId"]) == ("payment", made["checkoutSessionId"])


async def test_a_completed_session_that_costs_nothing_sells(shop: Shop) -> None:
    await only(shop, "checkout.session.completed")
    made = await checkout_in(shop, "eur", 0)
    await shop.pay(made["checkoutSessionId"])
    hold = await shop.until_status(made["holdId"], "committed")
    assert (hold.get("paymentIntentId"), hold["checkoutSessionId"]) == (None, made["checkoutSessionId"])
    assert await shop.stock() == (9, 0)


# checkout.session.completed, unpaid


@pytest.mark.parametrize(
    ("how", "currency", "method"),
    [("debit", "eur", "sepa_debit"), ("debit", "usd", "us_bank_account"), ("voucher", "brl", "boleto")],
)
async def test_a_completed_session_whose_money_is_under_way_waits_as_long_as_its_method_takes(
    shop: Shop, how: str, currency: str, method: str
) -> None:
    await only(shop, "checkout.session.completed")
    made = await checkout_in(shop, currency)
    await shop.pay(made["checkoutSessionId"], how)
    await until_it_lives_for(shop, made["holdId"], GRACE_SECONDS_BY_METHOD[method])
    assert await shop.stock() == (9, 1)
    assert (await shop.stripe.books(made["checkoutSessionId"]))["captured"] == 0


async def test_a_completed_session_that_is_only_authorised_sells_and_then_captures(shop: Shop) -> None:
    await only(shop, "checkout.session.completed")
    made = await shop.checkout(captureMethod="manual")
    await shop.pay(made["checkoutSessionId"])
    await sold(shop, made)


# checkout.session.async_payment_succeeded, …_failed


@pytest.mark.parametrize(("how", "currency"), [("debit", "eur"), ("voucher", "mxn")])
async def test_money_that_came_later_sells(shop: Shop, how: str, currency: str) -> None:
    await only(shop, "checkout.session.completed", "checkout.session.async_payment_succeeded")
    made = await checkout_in(shop, currency)
    await shop.pay(made["checkoutSessionId"], how)
    await shop.until_heard("checkout.session.completed", made["checkoutSessionId"])
    await shop.stripe.control(f"/payment_intents/{await shop.intent_of(made['checkoutSessionId'])}/settle")
    await sold(shop, made)


@pytest.mark.parametrize(("how", "currency"), [("debit", "eur"), ("voucher", "mxn")])
async def test_money_that_will_not_come_gives_the_stock_back(shop: Shop, how: str, currency: str) -> None:
    await only(shop, "checkout.session.completed", "checkout.session.async_payment_failed")
    made = await checkout_in(shop, currency)
    await shop.pay(made["checkoutSessionId"], how)
    await shop.until_heard("checkout.session.completed", made["checkoutSessionId"])
    await shop.stripe.control(f"/payment_intents/{await shop.intent_of(made['checkoutSessionId'])}/settle", ok=False)
    hold = await shop.until_status(made["holdId"], "released")
    assert hold["reason"] == "checkout_session_async_payment_failed"
    assert await shop.stock() == (10, 0)


async def test_money_that_will_not_come_lets_a_cancel_through_that_waited_for_it(shop: Shop) -> None:
    await only(shop, "payment_intent.processing", "checkout.session.async_payment_failed")
    made = await checkout_in(shop, "eur")
    await shop.pay(made["checkoutSessionId"], "debit")
    await until_it_lives_for(shop, made["holdId"], GRACE_SECONDS_BY_METHOD["sepa_debit"])
    await shop.stack.run_of(made["holdId"]).signal(HoldWorkflow.cancel, Cancel("shopper", "gone home"))
    assert await shop.stock() == (9, 1)
    await shop.stripe.control(f"/payment_intents/{await shop.intent_of(made['checkoutSessionId'])}/settle", ok=False)
    assert (await shop.until_status(made["holdId"], "released"))["reason"] == "gone home"
    assert await shop.stock() == (10, 0)


# checkout.session.expired


async def test_a_session_that_expired_gives_the_stock_back(shop: Shop) -> None:
    await only(shop, "checkout.session.expired")
    made = await shop.checkout()
    await shop.stripe.control(f"/sessions/{made['checkoutSessionId']}/expire")
    assert (await shop.until_status(made["holdId"], "released"))["reason"] == "checkout_session_expired"
    assert await shop.stock() == (10, 0)


async def test_the_end_of_another_payment_ends_no_hold(shop: Shop) -> None:
    made = await shop.checkout()
    for kind, other in (("checkout.session.expired", "cs_other"), ("payment_intent.canceled", "pi_other")):
        answer = await shop.send(event(kind, {"id": other, "metadata": named(made["holdId"])}))
        assert answer.json()["result"] == "told"
    await shop.pay(made["checkoutSessionId"])
    await sold(shop, made)


# payment_intent.succeeded


async def test_a_payment_that_succeeded_sells(shop: Shop) -> None:
    await only(shop, "payment_intent.succeeded")
    made = await shop.checkout()
    await shop.pay(made["checkoutSessionId"])
    assert (await sold(shop, made))["reason"] == "payment"


async def test_a_payment_after_3d_secure_sells(shop: Shop) -> None:
    await only(shop, "payment_intent.succeeded")
    made = await shop.checkout()
    await shop.pay(made["checkoutSessionId"], "3ds")
    await shop.stripe.control(f"/payment_intents/{await shop.intent_of(made['checkoutSessionId'])}/authenticate")
    await sold(shop, made)


async def test_a_payment_of_the_shops_own_is_found_by_its_attachment(shop: Shop) -> None:
    hold_id = (await shop.stack.made((shop.item, 1)))["holdId"]
    intent = await shop.stripe.stripe.v1.payment_intents.create_async({"amount": 1999, "currency": "eur"})
    attached = await shop.stack.post(hold_id, "payment", {"paymentIntentId": intent.id})
    assert attached.status_code == 200, attached.text
    await only(shop, "payment_intent.succeeded")
    await shop.stripe.control(f"/payment_intents/{intent.id}/pay")
    assert (await shop.until_status(hold_id, "committed"))["paymentIntentId"] == intent.id
    assert await shop.stock() == (9, 0)


# payment_intent.amount_capturable_updated


async def test_money_that_is_authorised_sells_and_is_then_captured(shop: Shop) -> None:
    await only(shop, "payment_intent.amount_capturable_updated")
    made = await shop.checkout(captureMethod="manual")
    await shop.pay(made["checkoutSessionId"])
    await sold(shop, made)


async def test_money_that_is_authorised_after_a_cancel_goes_back(shop: Shop) -> None:
    await only(shop, "payment_intent.amount_capturable_updated")
    made = await shop.checkout(captureMethod="manual")
    await shop.stripe.control("/faults", on="api", effect="pay", match="checkout.sessions.expire")
    answer = await shop.stack.post(made["holdId"], "release")
    assert (answer.status_code, answer.json()["status"]) == (200, "released")
    books = await shop.stripe.books(made["checkoutSessionId"])
    assert (books["captured"], books["capturable"]) == (0, 0)
    assert await shop.stock() == (10, 0)


# payment_intent.processing


async def test_a_payment_under_way_waits_as_long_as_its_method_takes_from_the_first_word_of_it(shop: Shop) -> None:
    await only(shop, "payment_intent.processing")
    made = await checkout_in(shop, "eur")
    await shop.pay(made["checkoutSessionId"], "debit")
    await until_it_lives_for(shop, made["holdId"], GRACE_SECONDS_BY_METHOD["sepa_debit"])
    first = await shop.stack.read(made["holdId"])

    intent = await shop.intent_of(made["checkoutSessionId"])
    again = event("payment_intent.processing", {"id": intent, "metadata": named(made["holdId"])})
    assert (await shop.send(again)).json()["result"] == "told"
    await shop.stripe.control(f"/payment_intents/{intent}/settle")
    await shop.send(event("payment_intent.succeeded", {"id": intent, "metadata": named(made["holdId"])}))

    assert (await sold(shop, made))["expiresAt"] == first["expiresAt"]


# payment_intent.payment_failed


@pytest.mark.parametrize("how", ["declined", "insufficient_funds"])
async def test_a_declined_attempt_is_noted_and_the_shopper_tries_another_card(shop: Shop, how: str) -> None:
    made = await shop.checkout()
    await shop.pay(made["checkoutSessionId"], how)
    await shop.until_heard("payment_intent.payment_failed", made["checkoutSessionId"])
    snapshot = await shop.stack.run_of(made["holdId"]).query("snapshot", result_type=dict)
    assert (snapshot["failed_attempts"], snapshot["status"]) == (1, "active")
    assert await shop.stock() == (9, 1)

    await shop.pay(made["checkoutSessionId"])

    await sold(shop, made)


# payment_intent.canceled


async def test_a_payment_of_the_shops_own_that_was_cancelled_ends_no_hold(shop: Shop) -> None:
    hold_id = (await shop.stack.made((shop.item, 1)))["holdId"]
    v1 = shop.stripe.stripe.v1
    intent = await v1.payment_intents.create_async({"amount": 1999, "currency": "eur", "metadata": named(hold_id)})
    await shop.stack.post(hold_id, "payment", {"paymentIntentId": intent.id})
    await only(shop, "payment_intent.canceled")
    await v1.payment_intents.cancel_async(intent.id)
    await shop.until_heard("payment_intent.canceled", intent.id)
    snapshot = await shop.stack.run_of(hold_id).query("snapshot", result_type=dict)
    assert (snapshot["status"], snapshot["attached"]) == ("active", None)
    assert await shop.stock() == (9, 1)


# Anything else


@pytest.mark.parametrize(
    "kind",
    [
        "payment_intent.created",
        "charge.succeeded",
        "customer.created",
        "invoice.paid",
        "payment_intent.requires_action",
    ],
)
async def test_anything_else_is_taken_in_and_ignored(shop: Shop, kind: str) -> None:
    hold_id = (await shop.stack.made((shop.item, 1)))["holdId"]
    before = counted(shop, "other", "ignored")
    answer = await shop.send(event(kind, {"id": "pi_1", "payment_intent": "pi_1", "metadata": named(hold_id)}))
    assert (answer.status_code, answer.json()["result"]) == (200, "ignored")
    assert counted(shop, "other", "ignored") == before + 1
    assert (await shop.stack.read(hold_id))["status"] == "active"
