"""A second payment of a hold's, past its page: it neither keeps the page open nor is it left on the shopper's card."""

import asyncio
from typing import Any

import psycopg
import pytest

from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import until_waiting
from tests.paying import PAGES, Shop, brief_checkout, named
from tests.waiting import until


@pytest.fixture
async def shop(corner: Shop) -> Shop:
    return corner


async def authorise_another(shop: Shop, hold_id: str) -> str:
    """Let the shopper authorise a PaymentIntent that the shop opened for the hold, until its workflow has heard."""
    params: Any = {"amount": 1999, "currency": "eur", "capture_method": "manual", "metadata": named(hold_id)}
    intent = (await shop.stripe.stripe.v1.payment_intents.create_async(params)).id
    await shop.stripe.control(f"/payment_intents/{intent}/pay")
    await shop.until_heard("payment_intent.amount_capturable_updated", intent)
    return intent


async def until_taken_or_given_back(shop: Shop, intent: str) -> None:
    async def is_so() -> bool:
        return bool((await shop.stripe.books(intent))["capturable"] == 0)

    await until(is_so, "the money is no longer reserved on the card")


async def status_of(shop: Shop, session_id: str) -> str | None:
    return (await shop.stripe.stripe.v1.checkout.sessions.retrieve_async(session_id)).status


async def test_a_payment_authorised_while_the_stock_is_given_back_is_looked_after(shop: Shop) -> None:
    made = await shop.checkout()
    database = shop.stack.settings.database_url.get_secret_value()
    async with await psycopg.AsyncConnection.connect(database) as connection:
        await connection.execute('SELECT FROM "InventoryItem" WHERE sku = %s FOR UPDATE', [shop.item])
        asked = asyncio.create_task(shop.stack.post(made["holdId"], "release"))
        await until_waiting(shop.stack.engine, 1)
        intent = await authorise_another(shop, made["holdId"])
    await asked

    await until_taken_or_given_back(shop, intent)

    assert (await shop.case_of(intent).result()).outcome == "reacquired"
    assert (await shop.stack.read(made["holdId"]))["reason"] == "late_payment"
    await assert_stock_adds_up(shop.stack.engine)


async def test_a_payment_authorised_while_the_page_is_closed_does_not_keep_the_page_open(shop: Shop) -> None:
    made = await shop.checkout()
    rule = await shop.stripe.control(
        "/faults", on="api", effect="timeout", match="checkout.sessions.expire", about=made["checkoutSessionId"]
    )
    asked = asyncio.create_task(shop.stack.post(made["holdId"], "release"))

    async def hangs() -> bool:
        return any(call["fault"] == "timeout" for call in await shop.stripe.control("/calls", "GET"))

    await until(hangs, "the call that closes the page hangs")
    intent = await authorise_another(shop, made["holdId"])
    await shop.stripe.control(f"/faults/{rule['id']}", "DELETE")
    await asked

    await until_taken_or_given_back(shop, intent)

    assert await status_of(shop, made["checkoutSessionId"]) == "expired"
    await assert_stock_adds_up(shop.stack.engine)


async def test_the_failure_of_a_second_page_does_not_keep_the_first_one_open(shop: Shop) -> None:
    gate = await shop.stripe.control(  # the deadline waits for it
        "/faults", on="api", effect="delay", match="checkout.sessions.retrieve", seconds=3600, times=None
    )
    hold_id, first = await brief_checkout(shop, seconds=2)
    price = {"currency": "mxn", "unit_amount": 39_900, "product_data": {"name": "T-shirt"}}
    params: Any = {
        "mode": "payment",
        "line_items": [{"quantity": 1, "price_data": price}],
        "success_url": PAGES["successUrl"],
        "metadata": named(hold_id),
        "payment_intent_data": {"metadata": named(hold_id)},
    }
    second = (await shop.stripe.stripe.v1.checkout.sessions.create_async(params)).id
    # Stripe's word that the voucher waits comes after its word that nobody paid it.
    await shop.stripe.control("/faults", on="webhook", effect="hold", match="checkout.session.completed", about=second)
    await shop.pay(second, "voucher")
    await shop.stripe.control(f"/payment_intents/{await shop.intent_of(second)}/settle", ok=False)
    await shop.until_heard("checkout.session.async_payment_failed", second)
    await shop.stripe.control("/webhooks/release")
    await shop.until_heard("checkout.session.completed", second)
    await shop.stripe.control(f"/faults/{gate['id']}", "DELETE")

    await shop.until_status(hold_id, "expired")

    assert await status_of(shop, first) == "expired"
    assert await shop.stock() == (10, 0)
