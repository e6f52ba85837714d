"""Payment and end of a hold at the same moment: each race of the table, its two steps in both orders.

The same with the worker killed between the steps: `test_race_table_kills.py`.
"""

import pytest

from dev.harness.invariants import assert_stock_adds_up
from tests.api.asking import refused
from tests.paying import LINE, PAGES, Shop, event, named
from tests.payments.endings import (
    ENDINGS,
    at_expire,
    checkout,
    end,
    fault,
    given_back,
    lose_webhooks,
    paid_checkout,
    sold_once,
)


@pytest.fixture
async def shop(corner: Shop) -> Shop:
    return corner


# Paid while we expire


@ENDINGS
@pytest.mark.parametrize("when", ["before", "after"])
async def test_who_pays_while_the_page_is_closed_has_bought(shop: Shop, ending: str, when: str) -> None:
    await lose_webhooks(shop)
    await at_expire(shop, "pay", when=when)
    made = await checkout(shop, ending)
    asked = end(shop, made, ending)
    await sold_once(shop, made)
    await asked
    assert shop.stack.counted("inventory_late_payment") == 0


# The `expired` webhook before our own answer


@ENDINGS
async def test_stripes_word_that_the_page_is_closed_may_come_before_our_own_answer(shop: Shop, ending: str) -> None:
    hanging = await at_expire(shop, "timeout", when="after", seconds=60)
    made = await checkout(shop, ending)
    asked = end(shop, made, ending)
    await shop.until_heard("checkout.session.expired", made["checkoutSessionId"])
    await shop.stripe.control(f"/faults/{hanging}", "DELETE")
    await given_back(shop, made, ending)
    await asked


@ENDINGS
async def test_stripes_word_that_the_page_is_closed_may_come_after_the_end(shop: Shop, ending: str) -> None:
    await fault(shop, "webhook", "hold", "checkout.session.expired")
    made = await checkout(shop, ending)
    asked = end(shop, made, ending)
    await given_back(shop, made, ending)
    await asked
    row = await shop.stack.read(made["holdId"])
    await shop.stripe.control("/webhooks/release")
    await shop.until_heard("checkout.session.expired", made["checkoutSessionId"])
    assert await shop.stack.read(made["holdId"]) == row
    assert await shop.stock() == (10, 0)


# `completed` after the hold ended


@ENDINGS
async def test_a_payment_after_the_end_takes_the_stock_again(shop: Shop, ending: str) -> None:
    made = await checkout(shop, ending, seconds=1)
    await end(shop, made, ending)
    await given_back(shop, made, ending)
    await shop.pay(made["checkoutSessionId"], late="complete")
    await sold_once(shop, made, reason="late_payment")
    case = shop.case_of(await shop.intent_of(made["checkoutSessionId"]))
    assert (await case.result()).outcome == "reacquired"


@ENDINGS
async def test_an_end_after_the_payment_changes_nothing(shop: Shop, ending: str) -> None:
    made = await paid_checkout(shop, ending)
    await sold_once(shop, made)
    answer = await shop.stack.post(made["holdId"], "release")
    assert (answer.status_code, answer.json()["error"]) == (409, "hold_not_active")
    await sold_once(shop, made)


# `expired` or `failed` after commit


FINAL = pytest.mark.parametrize("kind", ["checkout.session.expired", "payment_intent.payment_failed"])


@FINAL
async def test_after_the_sale_the_end_of_a_payment_changes_nothing(shop: Shop, kind: str) -> None:
    made = await shop.checkout()
    await shop.pay(made["checkoutSessionId"])
    await sold_once(shop, made)
    of = {"id": made["checkoutSessionId"], "metadata": named(made["holdId"])}
    assert (await shop.send(event(kind, of))).json()["result"] == "ended_before"
    await sold_once(shop, made)


@FINAL
async def test_a_sale_after_the_end_of_a_payment_is_made_only_if_the_hold_lives(shop: Shop, kind: str) -> None:
    made = await shop.checkout()
    if kind == "checkout.session.expired":
        await shop.stripe.control(f"/sessions/{made['checkoutSessionId']}/expire")
    else:
        await shop.pay(made["checkoutSessionId"], "declined")
    await shop.until_heard(kind, made["checkoutSessionId"])
    answer = await shop.stack.post(made["holdId"], "commit", {"paidElsewhere": True})
    expired = kind == "checkout.session.expired"
    assert (answer.status_code, answer.json()["status"]) == ((409, "released") if expired else (200, "committed"))
    assert await shop.stock() == ((10, 0) if expired else (9, 0))
    await assert_stock_adds_up(shop.stack.engine)


# A webhook that is lost


@ENDINGS
async def test_a_payment_of_which_nobody_told_is_found_at_the_end(shop: Shop, ending: str) -> None:
    await lose_webhooks(shop)
    made = await paid_checkout(shop, ending)
    asked = end(shop, made, ending)
    await sold_once(shop, made)
    await asked


@ENDINGS
async def test_who_tells_of_a_payment_that_was_found_tells_nothing_new(shop: Shop, ending: str) -> None:
    await fault(shop, "webhook", "hold", "*", times=None)
    made = await paid_checkout(shop, ending)
    asked = end(shop, made, ending)
    await sold_once(shop, made)
    await asked
    await shop.stripe.control("/webhooks/release")
    await shop.until_heard("checkout.session.completed", made["checkoutSessionId"])
    await shop.until_heard("payment_intent.succeeded", made["checkoutSessionId"])
    await sold_once(shop, made)
    with pytest.raises(Exception, match="not found"):
        await shop.case_of(await shop.intent_of(made["checkoutSessionId"])).describe()


# A commit beside the payment's webhook


async def test_a_commit_before_the_payment_sells_nothing_and_the_payment_sells(shop: Shop) -> None:
    made = await shop.checkout()
    refused(await shop.stack.post(made["holdId"], "commit"), 409, "payment_not_made")
    await shop.pay(made["checkoutSessionId"])
    await sold_once(shop, made)


async def test_a_commit_between_the_payment_and_its_webhook_sells_once(shop: Shop) -> None:
    await fault(shop, "webhook", "hold", "*", times=None)
    made = await shop.checkout()
    await shop.pay(made["checkoutSessionId"])
    assert (await shop.stack.post(made["holdId"], "commit")).status_code == 200
    await shop.stripe.control("/webhooks/release")
    await shop.until_heard("payment_intent.succeeded", made["checkoutSessionId"])
    await sold_once(shop, made, reason="committed")


async def test_a_commit_after_the_webhook_changes_nothing(shop: Shop) -> None:
    made = await shop.checkout()
    await shop.pay(made["checkoutSessionId"])
    await sold_once(shop, made)
    for body in (None, {"paidElsewhere": True}):
        answer = await shop.stack.post(made["holdId"], "commit", body)
        assert (answer.status_code, answer.json()["paidElsewhere"]) == (200, False)
    await sold_once(shop, made)


# Two sessions for one hold


async def session_of_the_shop(shop: Shop, hold_id: str) -> str:
    """Open a page of the shop's own for a hold."""
    opened = await shop.stripe.stripe.v1.checkout.sessions.create_async(
        {
            "mode": "payment",
            "success_url": PAGES["successUrl"],
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": LINE["currency"],
                        "unit_amount": LINE["unitAmount"],
                        "product_data": {"name": LINE["name"]},
                    },
                }
            ],
            "metadata": named(hold_id),
            "payment_intent_data": {"metadata": named(hold_id)},
        }
    )
    return opened.id


async def test_a_second_page_is_refused_while_the_first_can_be_paid_and_taken_when_not(shop: Shop) -> None:
    await fault(shop, "webhook", "hold", "checkout.session.expired")
    made = await shop.checkout()
    second = {"checkoutSessionId": await session_of_the_shop(shop, made["holdId"])}
    refused = await shop.stack.post(made["holdId"], "payment", second)
    assert (refused.status_code, refused.json()["error"]) == (409, "payment_already_attached")
    assert refused.json()["checkoutSessionId"] == made["checkoutSessionId"]

    await shop.stripe.control(f"/sessions/{made['checkoutSessionId']}/expire")
    taken = await shop.stack.post(made["holdId"], "payment", second)
    assert (taken.status_code, taken.json()["checkoutSessionId"]) == (200, second["checkoutSessionId"])

    await shop.stripe.control("/webhooks/release")  # the first one's end is not the hold's any more
    await shop.until_heard("checkout.session.expired", made["checkoutSessionId"])
    await shop.pay(second["checkoutSessionId"])
    await sold_once(shop, {**made, **second})


async def test_once_the_hold_has_heard_that_its_page_is_closed_there_is_no_second(shop: Shop) -> None:
    made = await shop.checkout()
    second = {"checkoutSessionId": await session_of_the_shop(shop, made["holdId"])}
    await shop.stripe.control(f"/sessions/{made['checkoutSessionId']}/expire")
    await shop.until_status(made["holdId"], "released")
    answer = await shop.stack.post(made["holdId"], "payment", second)
    assert (answer.status_code, answer.json()["error"]) == (409, "hold_not_active")
    assert await shop.stock() == (10, 0)
