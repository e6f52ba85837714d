"""Payments at a provider to which the page redirects, and by bank transfer, which may arrive in parts."""

import pytest

from tests.api.asking import fresh, refused
from tests.paying import Shop
from tests.payments.endings import sold_once
from tests.payments.own_payments import until_it_waits_longer
from tests.stack import SHOP

REDIRECT = {"paymentMethodTypes": ["klarna"]}
TRANSFER = {"paymentMethodTypes": ["customer_balance"]}


@pytest.fixture
async def shop(corner: Shop) -> Shop:
    return corner


@pytest.mark.parametrize("capture", ["automatic", "manual"])
async def test_who_comes_back_from_the_provider_with_a_yes_has_bought(shop: Shop, capture: str) -> None:
    opened = await shop.checkout(captureMethod=capture, **REDIRECT)
    await shop.pay(opened["checkoutSessionId"], "redirect")
    assert refused(await shop.stack.post(opened["holdId"], "commit"), 409, "payment_not_made")["paymentState"] == "open"
    intent = await shop.intent_of(opened["checkoutSessionId"])
    await shop.stripe.control(f"/payment_intents/{intent}/authenticate", ok=True)
    await sold_once(shop, opened)


async def test_who_comes_back_from_the_provider_with_a_no_can_try_again(shop: Shop) -> None:
    opened = await shop.checkout(**REDIRECT)
    await shop.pay(opened["checkoutSessionId"], "redirect")
    intent = await shop.intent_of(opened["checkoutSessionId"])
    await shop.stripe.control(f"/payment_intents/{intent}/authenticate", ok=False)
    await shop.until_heard("payment_intent.payment_failed", intent)
    assert (await shop.stack.read(opened["holdId"]))["status"] == "active"
    assert (await shop.stack.post(opened["holdId"], "release")).json()["status"] == "released"
    assert await shop.stock() == (10, 0)


async def test_a_bank_transfer_in_two_parts_sells_with_the_second(shop: Shop) -> None:
    order = fresh("order")
    opened = await shop.checkout(reference=order, **TRANSFER)
    before = (await shop.stack.read(opened["holdId"]))["expiresAt"]
    await shop.pay(opened["checkoutSessionId"], "transfer")
    await until_it_waits_longer(shop, opened["holdId"], before)
    intent = await shop.intent_of(opened["checkoutSessionId"])
    await shop.stripe.control(f"/payment_intents/{intent}/fund", amount=1500)
    await shop.until_heard("payment_intent.partially_funded", intent)
    told = refused(await shop.stack.post(opened["holdId"], "commit"), 409, "payment_not_made")
    assert told["paymentState"] == "processing"
    story = (await shop.stack.http.get(f"/api/inventory/orders/{SHOP}/{order}")).json()
    (part,) = [event for payment in story["payments"] for event in payment["events"]]
    assert (part["status"], part["amount"], part["currency"]) == ("funded_in_part", 1500, "eur")
    await shop.stripe.control(f"/payment_intents/{intent}/fund", amount=499)
    await sold_once(shop, opened)
