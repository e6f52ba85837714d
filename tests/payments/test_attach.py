"""POST …/payment: a payment that the shop opened itself becomes the hold's, and is closed with it."""

import asyncio
from typing import Any

import pytest

from dev.harness.invariants import assert_stock_adds_up
from tests.api.asking import fields_of, fresh, neighbour, refused
from tests.paying import Shop, named
from tests.payments.own_payments import attach, attached, made, own_intent, own_session, pay_intent, session_status
from tests.simulated import API_KEY
from tests.stack import SHOP, Stack
from tests.waiting import until


@pytest.mark.parametrize("with_metadata", [True, False])
async def test_a_page_of_the_shops_own_sells_the_hold(corner: Shop, with_metadata: bool) -> None:
    hold_id = await made(corner)
    page = await own_session(corner, metadata=named(hold_id) if with_metadata else None)
    hold = await attached(corner, hold_id, page)
    assert (hold["status"], hold["checkoutSessionId"]) == ("active", page)

    await corner.pay(page)

    hold = await corner.until_status(hold_id, "committed")
    assert (hold["reason"], hold["paymentIntentId"]) == ("payment", await corner.intent_of(page))
    assert await corner.stock() == (9, 0)


@pytest.mark.parametrize("with_metadata", [True, False])
async def test_a_payment_intent_of_the_shops_own_sells_the_hold(corner: Shop, with_metadata: bool) -> None:
    hold_id = await made(corner)
    intent = await own_intent(corner, named(hold_id) if with_metadata else None)
    assert (await attached(corner, hold_id, intent))["paymentIntentId"] == intent

    await pay_intent(corner, intent)

    hold = await corner.until_status(hold_id, "committed")
    assert (hold["reason"], hold["paymentIntentId"]) == ("payment", intent)


async def test_the_same_payment_again_is_no_other(corner: Shop) -> None:
    hold_id = await made(corner)
    page = await own_session(corner)
    assert await attached(corner, hold_id, page) == await attached(corner, hold_id, page)


@pytest.mark.parametrize("event", ["arrives", "is lost"])
async def test_a_repeat_says_that_the_payment_has_ended_since(corner: Shop, event: str) -> None:
    hold_id, page, intent = await made(corner), await own_session(corner), await own_intent(corner)
    if event == "is lost":
        await corner.stripe.control("/faults", on="webhook", effect="drop", match="*", times=None)
    for payment in (page, intent):
        await attached(corner, hold_id, payment)
        if payment == page:
            await corner.stripe.stripe.v1.checkout.sessions.expire_async(payment)
        else:
            await corner.stripe.stripe.v1.payment_intents.cancel_async(payment)
        refused(await attach(corner, hold_id, payment), 409, "payment_not_payable")
    await corner.stripe.control("/faults", "DELETE")
    assert (await corner.stack.read(hold_id))["status"] == "active"
    await attached(corner, hold_id, await own_intent(corner))


async def test_a_repeat_is_answered_from_the_row_while_stripe_is_away(corner: Shop) -> None:
    hold_id, page = await made(corner), await own_session(corner)
    first = await attached(corner, hold_id, page)
    await corner.stripe.control("/faults", on="api", effect="error", match="*", status=429, times=None)
    assert await attached(corner, hold_id, page) == first
    await corner.stripe.control("/faults", "DELETE")


async def test_a_second_payment_waits_until_the_first_can_no_longer_be_made(corner: Shop) -> None:
    hold_id = await made(corner)
    first, second = await own_session(corner), await own_intent(corner)
    await attached(corner, hold_id, first)
    told = refused(await attach(corner, hold_id, second), 409, "payment_already_attached")
    assert (told["holdId"], told["checkoutSessionId"]) == (hold_id, first)

    await corner.stripe.control("/faults", on="webhook", effect="drop", match="checkout.session.expired", about=first)
    await corner.stripe.stripe.v1.checkout.sessions.expire_async(first)
    hold = await attached(corner, hold_id, second)
    assert (hold["paymentIntentId"], hold["checkoutSessionId"]) == (second, None)


async def test_a_payment_beside_the_page_that_holdfast_opened_is_refused(corner: Shop) -> None:
    checkout = await corner.checkout()
    told = refused(await attach(corner, checkout["holdId"], await own_intent(corner)), 409, "payment_already_attached")
    assert told["checkoutSessionId"] == checkout["checkoutSessionId"]


async def test_a_payment_beside_a_page_that_is_being_opened_is_refused(corner: Shop) -> None:
    hold_id = fresh("h")
    opening = {"on": "api", "effect": "delay", "match": "checkout.sessions.create", "about": hold_id, "seconds": 60}
    await corner.stripe.control("/faults", **opening)
    asked = asyncio.create_task(corner.ask_for_checkout(holdId=hold_id))

    async def held() -> bool:
        return await corner.stock() == (9, 1)

    await until(held, "the stock is held")
    refused(await attach(corner, hold_id, await own_intent(corner)), 409, "payment_already_attached")
    await corner.stripe.control("/faults", "DELETE")
    assert (await asked).status_code == 201


@pytest.mark.parametrize(("payment", "field"), [("cs_test_0", "checkoutSessionId"), ("pi_0", "paymentIntentId")])
async def test_a_payment_that_stripe_does_not_know_names_the_field(corner: Shop, payment: str, field: str) -> None:
    hold_id = await made(corner)
    assert fields_of(await attach(corner, hold_id, payment)) == [field]
    assert (await corner.stack.read(hold_id))["status"] == "active"
    await attached(corner, hold_id, await own_session(corner))


@pytest.mark.parametrize(
    "body",
    [{}, {"checkoutSessionId": "cs_1", "paymentIntentId": "pi_1"}, {"checkoutSessionId": "pi_1"},
     {"paymentIntentId": "pi_1'--"}, {"paymentIntentId": None}, {"sessionId": "cs_1"}],
)  # fmt: skip
async def test_a_body_that_names_no_payment_or_two_is_refused(sandbox: Shop, body: dict[str, Any]) -> None:
    assert fields_of(await sandbox.stack.http.post(f"/api/inventory/holds/{SHOP}/h1/payment", json=body))


async def test_a_payment_that_names_another_hold_is_refused(corner: Shop) -> None:
    hold_id, other = await made(corner), await made(corner)
    for payment in (await own_session(corner, metadata=named(other)), await own_intent(corner, named(other))):
        refused(await attach(corner, hold_id, payment), 409, "payment_of_another_hold")
    elsewhere = await own_intent(corner, named(hold_id, "shop-2"))
    refused(await attach(corner, hold_id, elsewhere), 409, "payment_of_another_hold")


@pytest.mark.parametrize(
    "metadata", [{"shop_id": "Our 2nd shop"}, {"shop_id": "shop-2"}, {"inventory_reservation_id": "h-1"}]
)
async def test_metadata_without_both_ids_name_no_hold(corner: Shop, metadata: dict[str, str]) -> None:
    hold_id = await made(corner)
    intent = await own_intent(corner, metadata)
    await attached(corner, hold_id, intent)
    await pay_intent(corner, intent)
    assert (await corner.until_status(hold_id, "committed"))["paymentIntentId"] == intent


async def test_a_payment_that_is_attached_to_another_hold_is_refused(corner: Shop) -> None:
    hold_id, other = await made(corner), await made(corner)
    page = await own_session(corner)
    await attached(corner, other, page)
    refused(await attach(corner, hold_id, page), 409, "payment_of_another_hold")
    assert (await corner.stack.read(hold_id))["checkoutSessionId"] is None


async def test_a_payment_that_can_no_longer_be_made_is_refused(corner: Shop) -> None:
    hold_id = await made(corner)
    page, intent, returned = await own_session(corner), await own_intent(corner), await own_intent(corner)
    await corner.stripe.stripe.v1.checkout.sessions.expire_async(page)
    await corner.stripe.stripe.v1.payment_intents.cancel_async(intent)
    await pay_intent(corner, returned)
    await corner.stripe.stripe.v1.refunds.create_async({"payment_intent": returned})
    for payment in (page, intent, returned):
        refused(await attach(corner, hold_id, payment), 409, "payment_not_payable")
    assert (await corner.stack.read(hold_id))["status"] == "active"


async def test_a_payment_that_is_made_already_sells_the_hold(corner: Shop) -> None:
    hold_id, page = await made(corner), await own_session(corner)
    await corner.pay(page)
    await attached(corner, hold_id, page)
    hold = await corner.until_status(hold_id, "committed")
    assert hold["paymentIntentId"] == await corner.intent_of(page)
    assert await attached(corner, hold_id, page) == hold


async def test_a_payment_that_is_authorised_already_is_captured(corner: Shop) -> None:
    hold_id, page = await made(corner), await own_session(corner, capture_method="manual")
    await corner.pay(page)
    await attached(corner, hold_id, page)
    await corner.until_status(hold_id, "committed")

    async def captured() -> bool:
        return bool((await corner.stripe.books(page))["captured"] == 1999)

    await until(captured, "the money is captured")


async def test_a_payment_under_way_moves_the_deadline_to_its_grace(corner: Shop) -> None:
    hold_id, page = await made(corner), await own_session(corner)
    before = (await corner.stack.read(hold_id))["expiresAt"]
    await corner.pay(page, "debit")
    await attached(corner, hold_id, page)

    async def moved() -> bool:
        return bool((await corner.stack.read(hold_id))["expiresAt"] > before)

    await until(moved, "the deadline has moved")
    await corner.stripe.control(f"/payment_intents/{await corner.intent_of(page)}/settle")
    await corner.until_status(hold_id, "committed")


async def test_an_ended_hold_takes_no_payment(corner: Shop) -> None:
    for verb, status in (("release", "released"), ("commit", "committed")):
        hold_id = await made(corner)
        await corner.stack.post(hold_id, verb)
        told = refused(await attach(corner, hold_id, await own_session(corner)), 409, "hold_not_active")
        assert told["status"] == status


async def test_an_unknown_hold_takes_no_payment(corner: Shop) -> None:
    refused(await attach(corner, fresh("h"), await own_session(corner)), 404, "hold_not_found")


async def test_while_stripe_is_away_nothing_is_attached(corner: Shop) -> None:
    hold_id, page = await made(corner), await own_session(corner)
    await corner.stripe.control("/faults", on="api", effect="error", match="*", status=429, times=None)
    refused(await attach(corner, hold_id, page), 503, "payment_provider_unavailable")
    assert (await corner.stack.read(hold_id))["checkoutSessionId"] is None
    await corner.stripe.control("/faults", "DELETE")
    await attached(corner, hold_id, page)


async def test_without_stripes_key_there_is_nothing_to_attach(stack: Stack) -> None:
    await stack.put(10)
    hold = await stack.made()
    path, body = f"/api/inventory/holds/{SHOP}/{hold['holdId']}/payment", {"paymentIntentId": "pi_1"}
    refused(await stack.http.post(path, json=body), 503, "payments_not_configured")
    async with neighbour(stack, STRIPE_API_KEY=API_KEY, STRIPE_API_BASE="http://127.0.0.1:9") as http:
        told = refused(await http.post(path, json=body), 503, "payments_not_configured")
    assert "worker" in told["message"]


async def test_a_release_closes_what_is_attached(corner: Shop) -> None:
    with_page, with_intent = await made(corner), await made(corner)
    page, intent = await own_session(corner), await own_intent(corner)
    await attached(corner, with_page, page)
    await attached(corner, with_intent, intent)
    for hold_id in (with_page, with_intent):
        assert (await corner.stack.post(hold_id, "release")).json()["status"] == "released"
    assert await session_status(corner, page) == "expired"
    assert (await corner.stripe.books(intent))["status"] == "canceled"
    assert await corner.stock() == (10, 0)


async def test_a_release_of_a_payment_known_only_by_its_id_closes_the_page_that_made_it(corner: Shop) -> None:
    hold_id, page = await made(corner), await own_session(corner)
    await corner.pay(page, "declined")
    await attached(corner, hold_id, await corner.intent_of(page))
    assert (await corner.stack.post(hold_id, "release")).json()["status"] == "released"
    assert await session_status(corner, page) == "expired"


async def test_a_run_that_was_terminated_still_knows_what_is_attached(corner: Shop) -> None:
    hold_id, page = await made(corner), await own_session(corner)
    await attached(corner, hold_id, page)
    await corner.stack.run_of(hold_id).terminate()
    refused(await attach(corner, hold_id, await own_intent(corner)), 409, "payment_already_attached")
    assert (await corner.stack.post(hold_id, "release")).json()["status"] == "released"
    assert await session_status(corner, page) == "expired"


async def test_after_all_of_this_the_stock_adds_up(sandbox: Shop) -> None:
    await assert_stock_adds_up(sandbox.stack.engine)
