"""Commit of a hold with a payment: sold only if Stripe calls it made, or the shop says that it was paid elsewhere."""

import json
from typing import Any

import pytest

from dev.harness.invariants import assert_stock_adds_up
from tests.api.asking import neighbour, refused
from tests.commands import holdfast
from tests.paying import LINE, Shop
from tests.payments.endings import at_expire, lose_webhooks, only, sold_once
from tests.payments.own_payments import attached, made, own_intent, own_session, session_status
from tests.simulated import API_KEY
from tests.stack import PATIENT, SHOP
from tests.waiting import until
from workflows import late_payment
from workflows.hold import HoldWorkflow
from workflows.late_payment import LatePaymentWorkflow
from workflows.messages import Commit
from workflows.payment_messages import CloseCase

ELSEWHERE = {"paidElsewhere": True}


@pytest.fixture
async def shop(corner: Shop) -> Shop:
    return corner


async def still_held(shop: Shop, hold_id: str) -> None:
    hold = await shop.stack.read(hold_id)
    assert (hold["status"], hold["paidElsewhere"]) == ("active", False)
    assert await shop.stock() == (9, 1)


async def page_closed(shop: Shop, page: str) -> None:
    async def is_so() -> bool:
        return await session_status(shop, page) == "expired"

    await until(is_so, f"{page} is closed")


async def until_a_person_is_asked(shop: Shop, intent: str) -> None:
    """Wait until the case of the payment wants a person, then close it."""
    case = shop.case_of(intent)

    async def asks() -> bool:
        try:
            return await case.query(LatePaymentWorkflow.state) == (
                f"Waiting for a person. {late_payment.PAID_ELSEWHERE} When it is done, send the signal `close`."
            )
        except Exception:  # noqa: BLE001 - it has not begun
            return False

    await until(asks, "a person is asked")
    await case.signal(LatePaymentWorkflow.close, CloseCase("ann", "refunded the other one"))


async def test_a_success_page_that_commits_before_anybody_paid_sells_nothing(shop: Shop) -> None:
    opened = await shop.checkout()
    told = refused(await shop.stack.post(opened["holdId"], "commit"), 409, "payment_not_made")
    named = (told["holdId"], told["checkoutSessionId"], told["paymentState"])
    assert named == (opened["holdId"], opened["checkoutSessionId"], "open")
    await still_held(shop, opened["holdId"])
    await shop.pay(opened["checkoutSessionId"])
    await sold_once(shop, opened)


@pytest.mark.parametrize(
    ("how", "state"),
    [("declined", "open"), ("debit", "processing"), ("refunded", "refunded"), ("canceled", "unpayable")],
)
async def test_what_stripe_calls_unpaid_sells_nothing(shop: Shop, how: str, state: str) -> None:
    await lose_webhooks(shop)
    hold_id = await made(shop)
    if how == "canceled":
        intent = await own_intent(shop)
        await attached(shop, hold_id, intent)
        await shop.stripe.stripe.v1.payment_intents.cancel_async(intent)
    else:
        page = await own_session(shop)
        await attached(shop, hold_id, page)
        await shop.pay(page, "card" if how == "refunded" else how)
        if how == "refunded":
            refund: Any = {"payment_intent": await shop.intent_of(page)}
            await shop.stripe.stripe.v1.refunds.create_async(refund)
    told = refused(await shop.stack.post(hold_id, "commit", {"items": [{"sku": shop.item, "quantity": 1}]}),
                   409, "payment_not_made")  # fmt: skip
    assert told["paymentState"] == state
    await still_held(shop, hold_id)


async def test_a_commit_before_the_event_of_the_payment_sells_to_that_payment(shop: Shop) -> None:
    opened = await shop.checkout()
    await shop.stripe.control("/faults", on="webhook", effect="hold", match="*", times=None)
    await shop.pay(opened["checkoutSessionId"])
    sold = (await shop.stack.post(opened["holdId"], "commit", {"reason": "picked"})).json()
    assert (sold["status"], sold["reason"]) == ("committed", "picked")
    assert sold["paymentIntentId"] == await shop.intent_of(opened["checkoutSessionId"])
    await shop.stripe.control("/webhooks/release")
    await shop.until_heard("payment_intent.succeeded", opened["checkoutSessionId"])
    await sold_once(shop, opened, reason="picked")
    assert shop.stack.counted("inventory_stripe_event", type="payment_intent.succeeded", result="late") == 0


async def test_a_commit_captures_what_is_authorised(shop: Shop) -> None:
    await lose_webhooks(shop)
    opened = await shop.checkout(captureMethod="manual")
    await shop.pay(opened["checkoutSessionId"])
    assert (await shop.stack.post(opened["holdId"], "commit")).status_code == 200
    await sold_once(shop, opened, reason="committed")


@pytest.mark.parametrize("capture", ["automatic", "manual"])
async def test_a_hold_paid_elsewhere_is_sold_and_nobody_can_pay_on_its_page(shop: Shop, capture: str) -> None:
    await only(shop, "checkout.session.expired")
    opened = await shop.checkout(captureMethod=capture)
    page = opened["checkoutSessionId"]
    if capture == "manual":
        await shop.pay(page)
    sold = (await shop.stack.post(opened["holdId"], "commit", ELSEWHERE)).json()
    assert (sold["status"], sold["paidElsewhere"], sold["paymentIntentId"]) == ("committed", True, None)
    if capture == "automatic":
        await page_closed(shop, page)
    await shop.stack.run_of(opened["holdId"]).result()
    if capture == "manual":
        books = await shop.stripe.books(page)
        assert (books["status"], books["net"]) == ("canceled", 0)
    assert (await shop.stack.post(opened["holdId"], "commit")).json()["paidElsewhere"] is True
    assert await shop.stock() == (9, 0)
    await assert_stock_adds_up(shop.stack.engine)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_who_pays_on_the_page_of_a_hold_paid_elsewhere_is_left_to_a_person(shop: Shop, when: str) -> None:
    if when == "before":  # paid while Holdfast closes the page
        await lose_webhooks(shop)
        await at_expire(shop, "pay", when="before")
    opened = await shop.checkout()
    page = opened["checkoutSessionId"]
    assert (await shop.stack.post(opened["holdId"], "commit", ELSEWHERE)).status_code == 200
    await shop.stack.run_of(opened["holdId"]).result()
    if when == "after":
        await shop.pay(page, late="complete")
    intent = await shop.intent_of(page)
    await until_a_person_is_asked(shop, intent)
    assert (await shop.stripe.books(page))["net"] == LINE["unitAmount"]
    assert (await shop.stack.read(opened["holdId"]))["paymentIntentId"] is None


async def test_while_stripe_is_away_a_commit_says_so_and_one_paid_elsewhere_sells(shop: Shop) -> None:
    opened = await shop.checkout()
    await shop.stripe.control("/faults", on="api", effect="error", match="*", status=429, times=None)
    answer = await shop.stack.post(opened["holdId"], "commit")
    told = refused(answer, 503, "payment_provider_unavailable")
    assert "nothing was changed" in told["message"]
    await still_held(shop, opened["holdId"])
    assert (await shop.stack.post(opened["holdId"], "commit", ELSEWHERE)).json()["paidElsewhere"] is True
    await shop.stripe.control("/faults", "DELETE")
    await page_closed(shop, opened["checkoutSessionId"])


async def test_without_stripes_key_a_commit_of_a_hold_with_a_payment_says_so(shop: Shop) -> None:
    opened = await shop.checkout()
    path = f"/api/inventory/holds/{SHOP}/{opened['holdId']}/commit"
    async with neighbour(shop.stack, STRIPE_API_KEY="") as http:
        refused(await http.post(path), 503, "payments_not_configured")
    await still_held(shop, opened["holdId"])


async def test_a_run_that_was_lost_knows_the_payment_of_its_row(shop: Shop) -> None:
    opened = await shop.checkout()
    await shop.stack.run_of(opened["holdId"]).terminate()
    refused(await shop.stack.post(opened["holdId"], "commit"), 409, "payment_not_made")
    await still_held(shop, opened["holdId"])
    await shop.pay(opened["checkoutSessionId"])
    await sold_once(shop, opened)


async def test_a_commit_of_a_hold_without_a_payment_asks_nobody(shop: Shop) -> None:
    hold_id = await made(shop)
    calls = len(await shop.stripe.control("/calls", "GET"))
    assert (await shop.stack.post(hold_id, "commit")).json()["status"] == "committed"
    assert len(await shop.stripe.control("/calls", "GET")) == calls


async def test_what_a_person_sends_in_the_temporal_ui_sells(shop: Shop) -> None:
    opened = await shop.checkout()
    run = shop.stack.run_of(opened["holdId"])
    await run.signal(HoldWorkflow.record_commit, Commit("ann", "paid in cash", paid_elsewhere=True))
    assert (await shop.until_status(opened["holdId"], "committed"))["paidElsewhere"] is True
    await page_closed(shop, opened["checkoutSessionId"])


async def test_the_command_says_why_it_sells_nothing_and_sells_what_was_paid_elsewhere(shop: Shop) -> None:
    hold_id, intent = await made(shop), await own_intent(shop)
    await attached(shop, hold_id, intent)
    command = ("holds", "commit", hold_id, "--shop", SHOP)
    stripe = {"STRIPE_API_KEY": API_KEY, "STRIPE_API_BASE": shop.stripe.url, **PATIENT}
    unpaid = await holdfast(shop.stack, *command, **stripe)
    assert (unpaid.code, unpaid.out) == (1, "")
    assert unpaid.err == "holdfast holds commit: The payment of the hold has not been made.\n"
    sold = await holdfast(shop.stack, *command, "--paid-elsewhere", "--json", **PATIENT)
    assert (sold.code, json.loads(sold.out)["paidElsewhere"]) == (0, True)
