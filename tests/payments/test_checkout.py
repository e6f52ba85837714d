"""POST /api/checkout/sessions: a hold and a page to pay on, as one thing."""

from tests.paying import Shop
from tests.stack import SHOP


async def test_a_paid_page_sells_the_hold(shop: Shop) -> None:
    made = await shop.checkout(reference="order-1")
    assert await shop.stack.stock_of() == (9, 1)

    await shop.pay(made["checkoutSessionId"])

    hold = await shop.until_status(made["holdId"], "committed")
    assert hold["reason"] == "payment"
    assert hold["checkoutSessionId"] == made["checkoutSessionId"]
    assert hold["paymentIntentId"] == await shop.intent_of(made["checkoutSessionId"])
    assert await shop.stack.stock_of() == (9, 0)
    assert shop.stack.counted("inventory_late_payment") == 0


async def test_a_released_hold_closes_its_page_first(shop: Shop) -> None:
    made = await shop.checkout()

    answer = await shop.stack.post(made["holdId"], "release")

    assert answer.json()["status"] == "released"
    session = await shop.stripe.stripe.v1.checkout.sessions.retrieve_async(made["checkoutSessionId"])
    assert session.status == "expired"
    assert await shop.stack.stock_of() == (10, 0)


async def test_a_repeat_answers_the_same_hold_and_page(shop: Shop) -> None:
    first = await shop.ask_for_checkout(key="k1")
    again = await shop.ask_for_checkout(key="k1")

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    other = await shop.ask_for_checkout(key="k1", successUrl="https://shop.example/other")
    assert (other.status_code, other.json()["error"]) == (409, "idempotency_conflict")
    assert len(await shop.stripe.control("/sessions", "GET")) == 1
    assert await shop.stack.stock_of() == (9, 1)


async def test_the_page_names_its_hold_on_the_session_and_on_the_payment(shop: Shop) -> None:
    made = await shop.checkout()
    await shop.pay(made["checkoutSessionId"])

    session = await shop.stripe.stripe.v1.checkout.sessions.retrieve_async(
        made["checkoutSessionId"], {"expand": ["payment_intent"]}
    )

    named = {"inventory_reservation_id": made["holdId"], "shop_id": SHOP}
    assert session.to_dict()["metadata"] == named
    assert session.to_dict()["payment_intent"]["metadata"] == named
