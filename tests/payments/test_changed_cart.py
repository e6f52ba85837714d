"""The cart changes while there is a page to pay on: the page with the old items is closed before the hold changes."""

import asyncio
from typing import Any

import httpx
import pytest
from temporalio.client import WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from dev.harness.invariants import assert_stock_adds_up
from tests.api.asking import fresh, refused
from tests.paying import LINE, PAGES, Shop, named
from tests.payments.own_payments import (
    attach,
    attached,
    made,
    own_intent,
    own_session,
    session_status,
    settle,
    until_it_waits_longer,
)
from tests.stack import SHOP
from tests.waiting import until
from workflows.late_payment import CHANGED, LatePaymentWorkflow
from workflows.payment_messages import LatePaymentEnded

OWN = pytest.mark.parametrize("own", [own_session, own_intent], ids=["session", "intent"])


async def pay_for(shop: Shop, hold_id: str, quantity: int = 1, key: str | None = None, **fields: Any) -> httpx.Response:
    """Ask for a page to pay for an existing hold."""
    body = {"items": [{**LINE, "sku": shop.item, "quantity": quantity}], **PAGES, **fields}
    headers = {"Idempotency-Key": key} if key is not None else {}
    return await shop.stack.http.post(f"/api/inventory/holds/{SHOP}/{hold_id}/checkout", json=body, headers=headers)


async def page_of(answer: httpx.Response, status: int = 201) -> str:
    assert answer.status_code == status, answer.text
    return str(answer.json()["checkoutSessionId"])


# Amend


async def test_a_page_of_holdfast_is_closed_and_the_answer_says_that_a_new_one_is_needed(corner: Shop) -> None:
    key = fresh()
    checkout = await corner.checkout(reference=f"order-{corner.item}")
    hold_id, page = checkout["holdId"], checkout["checkoutSessionId"]

    answers = [await corner.stack.amend(hold_id, (corner.item, 3), key=key) for _ in range(2)]

    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert (answer.json()["closedCheckoutSessionId"], answer.json()["checkoutSessionId"]) == (page, None)
    await corner.until_heard("checkout.session.expired", page)
    assert await session_status(corner, page) == "expired"
    assert (await corner.stack.read(hold_id))["status"] == "active"
    assert await corner.stock() == (7, 3)


async def test_what_leaves_the_items_as_they_are_keeps_the_page(corner: Shop) -> None:
    checkout = await corner.checkout()
    hold_id, page = checkout["holdId"], checkout["checkoutSessionId"]
    answer = await corner.stack.amend(hold_id, (corner.item, 1), ttlSeconds=3000, buyer="b-1")
    assert (answer.json()["checkoutSessionId"], answer.json()["closedCheckoutSessionId"]) == (page, None)
    await corner.pay(page)
    assert (await corner.until_status(hold_id, "committed"))["buyer"] == "b-1"


async def test_a_page_that_a_lost_run_opened_is_closed_for_a_change(corner: Shop) -> None:
    checkout = await corner.checkout()
    hold_id, page = checkout["holdId"], checkout["checkoutSessionId"]
    await corner.stack.run_of(hold_id).terminate()
    answer = await corner.stack.amend(hold_id, (corner.item, 3))
    assert (answer.status_code, answer.json()["closedCheckoutSessionId"]) == (200, page), answer.text
    assert await session_status(corner, page) == "expired"


@OWN
async def test_a_payment_of_the_shop_s_own_that_can_still_be_made_prevents_a_change(corner: Shop, own: Any) -> None:
    hold_id, payment = await made(corner), await own(corner)
    await attached(corner, hold_id, payment)
    told = refused(await corner.stack.amend(hold_id, (corner.item, 2)), 409, "payment_open")
    assert payment in (told.get("checkoutSessionId"), told.get("paymentIntentId"))
    assert await corner.stock() == (9, 1)
    refused(await pay_for(corner, hold_id), 409, "payment_open")
    v1 = corner.stripe.stripe.v1
    if own is own_session:
        await v1.checkout.sessions.expire_async(payment)
    else:
        await v1.payment_intents.cancel_async(payment)
    assert (await corner.stack.amend(hold_id, (corner.item, 2))).status_code == 200
    assert await corner.stock() == (8, 2)


async def test_a_payment_in_progress_prevents_a_change(corner: Shop) -> None:
    checkout = await corner.checkout()
    await corner.pay(checkout["checkoutSessionId"], "debit")
    for _ in range(2):
        refused(await corner.stack.amend(checkout["holdId"], (corner.item, 2)), 409, "payment_in_progress")
    assert await corner.stock() == (9, 1)


@pytest.mark.parametrize("how", ["before", "after"])
async def test_a_page_that_was_paid_while_it_was_closed_sells_the_items_that_it_had(corner: Shop, how: str) -> None:
    checkout = await corner.checkout()
    page = checkout["checkoutSessionId"]
    await corner.stripe.control(
        "/faults", on="api", effect="pay", match="checkout.sessions.expire", about=page, when=how
    )
    refused(await corner.stack.amend(checkout["holdId"], (corner.item, 4)), 409, "hold_not_active")
    hold = await corner.until_status(checkout["holdId"], "committed")
    assert hold["items"][0]["quantity"] == 1
    assert await corner.stock() == (9, 0)


async def test_a_change_that_does_not_fit_leaves_the_page_as_it_is(corner: Shop) -> None:
    checkout = await corner.checkout()
    refused(await corner.stack.amend(checkout["holdId"], (corner.item, 11)), 409, "insufficient_stock")
    refused(await pay_for(corner, checkout["holdId"], 11), 409, "insufficient_stock")
    assert await session_status(corner, checkout["checkoutSessionId"]) == "open"
    assert (await corner.stack.read(checkout["holdId"]))["items"][0]["quantity"] == 1


async def test_a_limit_that_is_found_after_the_page_was_closed_is_answered_with_the_page(corner: Shop) -> None:
    checkout = await corner.checkout()
    await corner.stack.limit(corner.item, max_per_order=2)
    told = refused(await corner.stack.amend(checkout["holdId"], (corner.item, 3)), 409, "limit_exceeded")
    assert told["closedCheckoutSessionId"] == checkout["checkoutSessionId"]
    assert await corner.stock() == (9, 1)


async def test_while_stripe_is_away_a_cart_with_a_page_is_not_changed(corner: Shop) -> None:
    checkout = await corner.checkout()
    await corner.stripe.control("/faults", on="api", effect="error", match="*", status=429, times=None)
    refused(await corner.stack.amend(checkout["holdId"], (corner.item, 2)), 503, "payment_provider_unavailable")
    assert (await corner.stack.amend(checkout["holdId"], buyer="b-1")).status_code == 200
    await corner.stripe.control("/faults", "DELETE")
    changed = await corner.stack.amend(checkout["holdId"], (corner.item, 2))
    assert changed.json()["closedCheckoutSessionId"] == checkout["checkoutSessionId"]


async def copy_of(corner: Shop, page: str) -> str:
    """Return the copy of an expired page that Stripe makes for its shopper."""
    return str((await corner.stripe.control(f"/sessions/{page}/recover"))["session"])


async def paid_for_the_old_cart(corner: Shop, page: str, copies: int) -> str:
    """Pay on a closed page, or on a copy that Stripe made of it for its shopper; return what was paid on."""
    for _ in range(copies):
        page = await copy_of(corner, page)
        if copies > 1:
            await corner.stripe.control(f"/sessions/{page}/expire")
    await corner.pay(page, late="no" if copies == 1 else "complete")
    return page


async def waits_for_a_person(case: WorkflowHandle[LatePaymentWorkflow, LatePaymentEnded]) -> None:
    """Wait until the case of a payment for the old cart does."""

    async def waits() -> bool:
        try:
            return bool(await case.query(LatePaymentWorkflow.waits_for_person))
        except RPCError as error:  # the hold's run has ended, and Temporal starts the case a moment later
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return False

    await until(waits, "the case waits for a person")
    assert CHANGED in await case.query(LatePaymentWorkflow.state)


@pytest.mark.parametrize("copies", [0, 1])
@pytest.mark.parametrize("lost", ["checkout.session.completed", "payment_intent.succeeded"])
async def test_money_for_the_old_cart_does_not_buy_the_new_one(corner: Shop, lost: str, copies: int) -> None:
    await corner.stripe.control("/faults", on="webhook", effect="drop", match=lost, times=None)
    checkout = await corner.checkout()
    hold_id, old = checkout["holdId"], checkout["checkoutSessionId"]
    page = await page_of(await pay_for(corner, hold_id, 4))
    old = await paid_for_the_old_cart(corner, old, copies)
    await corner.until_heard("payment_intent.succeeded" if lost.startswith("c") else "checkout.session.completed", old)
    assert (await corner.stack.read(hold_id))["status"] == "active"
    await corner.pay(page)
    assert (await corner.until_status(hold_id, "committed"))["paymentIntentId"] == await corner.intent_of(page)
    await corner.stack.run_of(hold_id).result()
    ended = await corner.case_of(await corner.intent_of(old)).result()
    assert (ended.outcome, (await corner.stripe.books(old))["net"]) == ("refunded", 0)
    assert await corner.stock() == (6, 0)


async def test_money_for_the_old_cart_buys_nothing_after_the_run_was_lost(corner: Shop) -> None:
    checkout = await corner.checkout()
    hold_id, old = checkout["holdId"], checkout["checkoutSessionId"]
    assert (await corner.stack.amend(hold_id, (corner.item, 4))).status_code == 200
    await corner.stack.run_of(hold_id).terminate()
    await paid_for_the_old_cart(corner, old, 0)
    await corner.until_heard("payment_intent.succeeded", old)
    assert (await corner.stack.post(hold_id, "release")).json()["status"] == "released"
    await waits_for_a_person(corner.case_of(await corner.intent_of(old)))
    assert await corner.stock() == (10, 0)


@pytest.mark.parametrize("copies", [0, 2])
async def test_money_for_the_old_cart_of_a_hold_that_ended_waits_for_a_person(corner: Shop, copies: int) -> None:
    checkout = await corner.checkout()
    hold_id, old = checkout["holdId"], checkout["checkoutSessionId"]
    assert (await corner.stack.amend(hold_id, (corner.item, 4))).status_code == 200
    await corner.stack.post(hold_id, "release")
    old = await paid_for_the_old_cart(corner, old, copies)
    await corner.until_heard("payment_intent.succeeded", old)
    await waits_for_a_person(corner.case_of(await corner.intent_of(old)))
    assert await corner.stock() == (10, 0)


@pytest.mark.parametrize(
    ("way", "copied", "new_page"),
    [
        ("manual capture", True, True),
        ("manual capture", False, False),
        ("debit", True, False),
        ("declined first", True, False),
        ("declined first", False, False),
    ],
)
async def test_money_for_the_old_cart_that_comes_in_two_steps_does_not_buy_the_new_one(
    corner: Shop, way: str, copied: bool, new_page: bool
) -> None:
    fields = {"captureMethod": "manual"} if way == "manual capture" else {}
    checkout = await corner.checkout(**fields)
    hold_id, old = checkout["holdId"], checkout["checkoutSessionId"]
    if new_page:
        page = await page_of(await pay_for(corner, hold_id, 4, **fields))
    else:
        assert (await corner.stack.amend(hold_id, (corner.item, 4))).status_code == 200
    if copied:
        old = await copy_of(corner, old)
    late = {"late": "no" if copied else "complete"}
    await corner.pay(old, {"debit": "debit", "declined first": "declined"}.get(way, "card"), **late)
    if way == "declined first":
        await corner.until_heard("payment_intent.payment_failed", old)
        await corner.pay(old, **late)
    await corner.until_heard("checkout.session.completed", old)
    if way == "debit":
        assert (await corner.stack.read(hold_id))["expiresAt"] == checkout["expiresAt"]
        await settle(corner, await corner.intent_of(old), ok=True)
    paid = "amount_capturable_updated" if way == "manual capture" else "succeeded"
    await corner.until_heard(f"payment_intent.{paid}", old)
    if new_page:
        await corner.pay(page)
        assert (await corner.until_status(hold_id, "committed"))["paymentIntentId"] == await corner.intent_of(page)
    else:
        assert (await corner.stack.post(hold_id, "release")).json()["status"] == "released"
    await corner.stack.run_of(hold_id).result()
    case = corner.case_of(await corner.intent_of(old))
    if new_page:
        assert ((await case.result()).outcome, (await corner.stripe.books(old))["net"]) == ("refunded", 0)
    else:
        await waits_for_a_person(case)


@pytest.mark.parametrize("copies", [1, 2])
async def test_a_copy_of_the_old_cart_s_page_does_not_buy_the_new_one_although_it_is_attached(
    corner: Shop, copies: int
) -> None:
    checkout = await corner.checkout()
    hold_id, old = checkout["holdId"], checkout["checkoutSessionId"]
    assert (await corner.stack.amend(hold_id, (corner.item, 4))).status_code == 200
    for n in range(copies):
        if n:
            await corner.stripe.control(f"/sessions/{old}/expire")
        old = await copy_of(corner, old)
    await attached(corner, hold_id, old)
    await corner.stripe.control("/faults", on="webhook", effect="drop", match="*", times=None)
    await corner.pay(old)
    assert (await corner.stack.post(hold_id, "release")).json()["status"] == "released"
    await corner.stack.run_of(hold_id).result()
    await waits_for_a_person(corner.case_of(await corner.intent_of(old)))


@pytest.mark.parametrize("how", ["card", "debit"])
async def test_money_on_a_copy_of_a_page_for_the_new_cart_buys_it(corner: Shop, how: str) -> None:
    checkout = await corner.checkout()
    hold_id = checkout["holdId"]
    assert (await corner.stack.amend(hold_id, (corner.item, 4))).status_code == 200
    page = await own_session(corner, metadata=named(hold_id))
    await attached(corner, hold_id, page)
    await corner.stripe.stripe.v1.checkout.sessions.expire_async(page)
    await corner.until_heard("checkout.session.expired", page)
    copy = await copy_of(corner, page)
    await corner.pay(copy, how)
    if how == "debit":
        await until_it_waits_longer(corner, hold_id, checkout["expiresAt"])
        await settle(corner, await corner.intent_of(copy), ok=True)
    assert (await corner.until_status(hold_id, "committed"))["paymentIntentId"] == await corner.intent_of(copy)
    assert await corner.stock() == (6, 0)


async def test_a_cart_is_not_changed_again_once_it_is_paid_on_a_copy_of_its_page(corner: Shop) -> None:
    hold_id = (await corner.checkout())["holdId"]
    assert (await corner.stack.amend(hold_id, (corner.item, 4))).status_code == 200
    page = await own_session(corner)
    await corner.stripe.stripe.v1.checkout.sessions.expire_async(page)
    copy = await copy_of(corner, page)
    await attached(corner, hold_id, copy)
    await corner.stripe.control("/faults", on="webhook", effect="drop", match="*", times=None)
    await corner.pay(copy)
    refused(await corner.stack.amend(hold_id, (corner.item, 5)), 409, "payment_in_progress")
    await corner.until_status(hold_id, "committed")
    assert await corner.stock() == (6, 0)


# Pay for an existing hold


async def test_a_hold_can_be_paid_on_a_page_that_is_opened_later(corner: Shop) -> None:
    hold_id = await made(corner)
    answer = await pay_for(corner, hold_id)
    page = await page_of(answer)
    hold = await corner.stack.read(hold_id)
    assert answer.json().keys() == (await corner.checkout()).keys()
    assert (hold["checkoutSessionId"], answer.json()["expiresAt"]) == (page, hold["expiresAt"])
    await corner.pay(page)
    assert (await corner.until_status(hold_id, "committed"))["paymentIntentId"] == await corner.intent_of(page)
    refused(await pay_for(corner, hold_id), 409, "hold_not_active")


async def test_a_changed_cart_is_paid_on_a_page_with_its_own_prices_in_one_step(corner: Shop) -> None:
    order = f"order-{corner.item}"
    first = await corner.checkout(reference=order)
    hold_id = first["holdId"]
    page = await page_of(await pay_for(corner, hold_id, 3))
    assert await session_status(corner, first["checkoutSessionId"]) == "expired"
    assert await corner.stock() == (7, 3)
    session = await corner.stripe.stripe.v1.checkout.sessions.retrieve_async(page)
    assert (session.amount_total, session.client_reference_id) == (3 * 1999, order)
    assert session.metadata is not None
    assert session.metadata["inventory_reference"] == order  # as the page of a new checkout names it
    await corner.pay(page)
    hold = await corner.until_status(hold_id, "committed")
    assert (hold["items"][0]["quantity"], await corner.stock()) == (3, (7, 0))


async def test_a_repeat_gets_the_same_page_and_another_request_another(corner: Shop) -> None:
    hold_id, key = await made(corner), fresh()
    first, again = await asyncio.gather(*(pay_for(corner, hold_id, 2, key) for _ in range(2)))
    assert sorted(answer.status_code for answer in (first, again)) == [200, 201]
    assert first.json() == again.json()
    assert (await pay_for(corner, hold_id, 2, key)).json() == first.json()
    refused(await pay_for(corner, hold_id, 1, key), 409, "idempotency_conflict")
    second = await page_of(await pay_for(corner, hold_id, 2))
    assert second != first.json()["checkoutSessionId"]
    assert await session_status(corner, first.json()["checkoutSessionId"]) == "expired"
    closed = (await pay_for(corner, hold_id, 2, key)).json()
    assert (closed["checkoutSessionId"], closed["url"]) == (first.json()["checkoutSessionId"], None)
    await corner.pay(second)
    await corner.until_status(hold_id, "committed")


async def test_a_repeat_of_the_first_checkout_gets_the_page_that_is_open_now(corner: Shop) -> None:
    key = fresh()
    first = (await corner.ask_for_checkout(key=key)).json()
    assert (await corner.ask_for_checkout(key=key)).json() == first
    await corner.stack.amend(first["holdId"], (corner.item, 2))
    closed = (await corner.ask_for_checkout(key=key)).json()
    assert (closed["url"], closed["checkoutSessionId"]) == (None, None)
    opened = (await pay_for(corner, first["holdId"], 2)).json()
    assert (await corner.ask_for_checkout(key=key)).json() == opened


async def test_a_refused_page_leaves_the_hold_without_one(corner: Shop) -> None:
    checkout = await corner.checkout()
    body = {"items": [{"sku": corner.item, "quantity": 1, "price": "price_unknown"}], **PAGES}
    answer = await corner.stack.http.post(f"/api/inventory/holds/{SHOP}/{checkout['holdId']}/checkout", json=body)
    refused(answer, 422, "checkout_refused")
    hold = await corner.stack.read(checkout["holdId"])
    assert (hold["status"], hold["checkoutSessionId"]) == ("active", None)
    page = await page_of(await pay_for(corner, checkout["holdId"]))
    await corner.pay(page)
    await corner.until_status(checkout["holdId"], "committed")


async def test_an_own_payment_can_take_the_place_of_a_later_page(corner: Shop) -> None:
    hold_id, own = await made(corner), await own_session(corner)
    page = await page_of(await pay_for(corner, hold_id))
    refused(await attach(corner, hold_id, own), 409, "payment_already_attached")
    assert (await attach(corner, hold_id, own, replace=True)).json()["checkoutSessionId"] == own
    assert await session_status(corner, page) == "expired"


# Replace


async def test_the_units_of_a_replaced_checkout_stay_held_while_its_page_is_closed(corner: Shop) -> None:
    await corner.stack.put(1, corner.item)
    order = f"order-{corner.item}"
    old = await corner.checkout(reference=order)
    new = await corner.checkout(reference=order, replace=True)
    assert await session_status(corner, old["checkoutSessionId"]) == "expired"
    ended = await corner.until_status(old["holdId"], "released")
    assert ended["reason"] == "replaced"
    assert await corner.stock() == (0, 1)
    await corner.pay(new["checkoutSessionId"])
    await corner.until_status(new["holdId"], "committed")


async def test_after_all_of_this_the_stock_adds_up(sandbox: Shop) -> None:
    await assert_stock_adds_up(sandbox.stack.engine)
