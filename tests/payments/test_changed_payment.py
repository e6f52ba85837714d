"""Another payment for a hold: the stock stays held while a shop changes it, and while a newer one can be paid."""

from typing import Any

import httpx
import pytest

from dev.harness.invariants import assert_stock_adds_up
from tests.api.asking import refused
from tests.paying import Shop, event, named
from tests.payments.own_payments import (
    attach,
    attached,
    made,
    own_intent,
    own_session,
    session_status,
    settle,
    until_it_expires_at,
    until_it_waits_longer,
)
from tests.stack import SHOP


async def still_held(shop: Shop, hold_id: str) -> None:
    """Check that the hold's workflow has handled every message so far, and that its stock is held."""
    snapshot = await shop.stack.run_of(hold_id).query("snapshot", result_type=dict)
    assert (snapshot["status"], snapshot["ending"]) == ("active", None)
    assert await shop.stock() == (9, 1)


# The end of a payment


async def test_the_end_of_an_older_payment_keeps_the_hold_for_the_newer_one(corner: Shop) -> None:
    hold_id = await made(corner)
    older, newer = [await own_session(corner, metadata=named(hold_id)) for _ in range(2)]
    await corner.stripe.stripe.v1.checkout.sessions.expire_async(older)
    await corner.until_heard("checkout.session.expired", older)
    await still_held(corner, hold_id)

    await corner.pay(newer)

    hold = await corner.until_status(hold_id, "committed")
    assert (hold["reason"], hold["paymentIntentId"]) == ("payment", await corner.intent_of(newer))


@pytest.mark.parametrize("kind", ["checkout.session.async_payment_failed", "payment_intent.canceled"])
async def test_the_end_of_a_payment_that_was_never_attached_ends_no_hold(corner: Shop, kind: str) -> None:
    hold_id = await made(corner)
    of = {"id": "cs_1", "payment_intent": "pi_1"} if kind.startswith("checkout") else {"id": "pi_1"}
    assert (await corner.send(event(kind, {**of, "metadata": named(hold_id)}))).json()["result"] == "told"
    await still_held(corner, hold_id)


@pytest.mark.parametrize("what", ["session", "intent"])
async def test_a_shop_can_end_a_payment_and_attach_another(corner: Shop, what: str) -> None:
    hold_id, v1 = await made(corner), corner.stripe.stripe.v1
    first = await (own_session if what == "session" else own_intent)(corner)
    second = await own_session(corner)
    await attached(corner, hold_id, first)
    refused(await attach(corner, hold_id, second), 409, "payment_already_attached")
    if what == "session":
        await v1.checkout.sessions.expire_async(first)
        await corner.until_heard("checkout.session.expired", first)
    else:
        await v1.payment_intents.cancel_async(first)
        await corner.until_heard("payment_intent.canceled", first)
    await still_held(corner, hold_id)

    assert (await attached(corner, hold_id, second))["checkoutSessionId"] == second
    refused(await attach(corner, hold_id, first), 409, "payment_already_attached")
    refused(await attach(corner, hold_id, first, replace=True), 409, "payment_not_payable")
    await corner.pay(second)

    assert (await corner.until_status(hold_id, "committed"))["paymentIntentId"] == await corner.intent_of(second)


async def test_a_payment_that_failed_for_good_keeps_the_hold_until_its_deadline(corner: Shop) -> None:
    hold_id, page = await made(corner), await own_session(corner)
    before = (await corner.stack.read(hold_id))["expiresAt"]
    await attached(corner, hold_id, page)
    await corner.pay(page, "debit")
    await corner.until_heard("checkout.session.completed", page)
    await until_it_waits_longer(corner, hold_id, before)
    await settle(corner, await corner.intent_of(page), ok=False)
    await corner.until_heard("checkout.session.async_payment_failed", page)
    await until_it_expires_at(corner, hold_id, before)
    await still_held(corner, hold_id)


# One call


@pytest.mark.parametrize("earlier", ["page of Holdfast", "session", "intent"])
async def test_replace_closes_the_earlier_payment_and_attaches_the_new_one(corner: Shop, earlier: str) -> None:
    if earlier == "page of Holdfast":
        checkout = await corner.checkout()
        hold_id, first = checkout["holdId"], checkout["checkoutSessionId"]
    else:
        hold_id = await made(corner)
        first = await (own_session if earlier == "session" else own_intent)(corner)
        await attached(corner, hold_id, first)
    second = await own_session(corner)

    answer = await attach(corner, hold_id, second, replace=True)

    assert (answer.status_code, answer.json()["status"]) == (200, "active"), answer.text
    assert (answer.json()["checkoutSessionId"], answer.json()["paymentIntentId"]) == (second, None)
    if earlier == "intent":
        await corner.until_heard("payment_intent.canceled", first)
        assert (await corner.stripe.books(first))["status"] == "canceled"
    else:
        await corner.until_heard("checkout.session.expired", first)
        assert await session_status(corner, first) == "expired"
    assert (await attach(corner, hold_id, second, replace=True)).json() == answer.json()
    await still_held(corner, hold_id)
    await corner.pay(second)
    await corner.until_status(hold_id, "committed")
    assert await corner.stock() == (9, 0)


async def test_the_order_tells_who_attached_a_payment(corner: Shop) -> None:
    order, page = f"order-{corner.item}", await own_session(corner)
    hold = await corner.stack.made((corner.item, 1), reference=order)
    path = f"/api/inventory/holds/{SHOP}/{hold['holdId']}/payment"
    answer = await corner.stack.http.post(path, json={"checkoutSessionId": page}, headers={"X-Actor": "till-3"})
    assert answer.status_code == 200, answer.text
    story = (await corner.stack.http.get(f"/api/inventory/orders/{SHOP}/{order}")).json()
    (attached_by,) = (each for each in story["holds"][0]["changes"] if each["what"] == "a payment was attached")
    assert (attached_by["actor"], attached_by["detail"]) == ("till-3", page)


async def test_replace_attaches_a_first_payment(corner: Shop) -> None:
    hold_id, page = await made(corner), await own_session(corner)
    assert (await attach(corner, hold_id, page, replace=True)).json()["checkoutSessionId"] == page


async def test_a_payment_that_cannot_be_attached_closes_no_other(corner: Shop) -> None:
    hold_id, other, first = await made(corner), await made(corner), await own_session(corner)
    await attached(corner, hold_id, first)
    refused(await attach(corner, hold_id, "pi_unknown", replace=True), 422, "invalid_request")
    others = await own_intent(corner, named(other))
    refused(await attach(corner, hold_id, others, replace=True), 409, "payment_of_another_hold")
    assert await session_status(corner, first) == "open"
    assert (await corner.stack.read(hold_id))["checkoutSessionId"] == first


@pytest.mark.parametrize("how", ["before", "after"])
async def test_an_earlier_payment_that_was_made_meanwhile_buys_the_hold(corner: Shop, how: str) -> None:
    hold_id, first, second = await made(corner), await own_session(corner), await own_session(corner)
    await attached(corner, hold_id, first)
    fault = {"on": "api", "effect": "pay", "match": "checkout.sessions.expire", "about": first, "when": how}
    await corner.stripe.control("/faults", **fault)
    told = refused(await attach(corner, hold_id, second, replace=True), 409, "hold_not_active")
    hold = await corner.until_status(hold_id, "committed")
    assert hold["paymentIntentId"] == await corner.intent_of(first)
    assert told["holdId"] == hold_id


async def test_while_stripe_is_away_the_earlier_payment_stays(corner: Shop) -> None:
    hold_id, first, second = await made(corner), await own_session(corner), await own_session(corner)
    await attached(corner, hold_id, first)
    await corner.stripe.control("/faults", on="api", effect="error", match="*", status=429, times=None)
    refused(await attach(corner, hold_id, second, replace=True), 503, "payment_provider_unavailable")
    assert (await corner.stack.read(hold_id))["checkoutSessionId"] == first
    await corner.stripe.control("/faults", "DELETE")
    assert (await attach(corner, hold_id, second, replace=True)).json()["checkoutSessionId"] == second


async def test_replace_is_true_or_false(corner: Shop) -> None:
    answer = await corner.stack.post("h-1", "payment", {"paymentIntentId": "pi_1", "replace": "yes"})
    assert refused(answer, 422, "invalid_request")["fields"][0]["field"] == "replace"


# A payment in progress


async def in_progress(shop: Shop, hold: dict[str, Any], answer: httpx.Response) -> None:
    told = refused(answer, 409, "payment_in_progress")
    assert (told["holdId"], told["status"]) == (hold["holdId"], "active")
    assert told["checkoutSessionId"] == hold["checkoutSessionId"]
    assert told["expiresAt"] >= hold["expiresAt"]
    assert (await shop.stock())[1] == 1


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
async def test_a_hold_whose_payment_is_in_progress_is_not_replaced(corner: Shop, known: bool) -> None:
    """`unknown`: Stripe's events are lost, so that only closing the payment shows how it is."""
    if not known:
        await corner.stripe.control("/faults", on="webhook", effect="drop", match="*", times=None)
    order = f"order-{corner.item}"
    hold = await corner.checkout(reference=order)
    await corner.pay(hold["checkoutSessionId"], "debit")
    if known:
        await corner.until_heard("payment_intent.processing", hold["checkoutSessionId"])
    again: dict[str, Any] = {"reference": order, "replace": True}

    for _ in range(2):
        await in_progress(corner, hold, await corner.stack.create((corner.item, 1), **again))
        await in_progress(corner, hold, await corner.ask_for_checkout(**again))

    await corner.stripe.control("/faults", "DELETE")
    intent = await corner.intent_of(hold["checkoutSessionId"])
    await corner.stripe.control(f"/payment_intents/{intent}/settle", ok=False)
    await corner.until_status(hold["holdId"], "released")
    assert (await corner.stack.create((corner.item, 1), **again)).status_code == 201


async def test_a_payment_in_progress_is_not_replaced_by_another(corner: Shop) -> None:
    hold_id, first, second = await made(corner), await own_session(corner), await own_session(corner)
    hold = await attached(corner, hold_id, first)
    await corner.pay(first, "debit")
    for _ in range(2):
        await in_progress(corner, hold, await attach(corner, hold_id, second, replace=True))
    assert await session_status(corner, second) == "open"


async def test_after_all_of_this_the_stock_adds_up(sandbox: Shop) -> None:
    await assert_stock_adds_up(sandbox.stack.engine)
