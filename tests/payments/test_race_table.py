"""Payment and end of a hold at the same moment: each race of the table, its two steps in both orders.

The same with the worker killed between the steps: `test_race_table_kills.py`.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from cli.embedded import TEMPORAL_FLAGS, temporal_binary
from payments.graces import GRACES
from tests.invariants import assert_stock_adds_up
from tests.paying import LINE, PAGES, Shop, brief_checkout, event, named, running_shop, until
from workflows.conversion import data_converter
from workflows.messages import Cancel, LatePaymentEnded

Made = dict[str, Any]
BRIEF = 2
"""Seconds: long enough to pay in, when the shopper is quick."""


@pytest.fixture
async def shop(corner: Shop) -> Shop:
    return corner


async def fault(shop: Shop, on: str, effect: str, match: str, **fields: Any) -> str:
    rule: str = (await shop.stripe.control("/faults", on=on, effect=effect, match=match, **fields))["id"]
    return rule


async def at_expire(shop: Shop, effect: str, **fields: Any) -> str:
    """Have something happen to our call that closes the page."""
    return await fault(shop, "api", effect, "checkout.sessions.expire", **fields)


async def lose_webhooks(shop: Shop) -> None:
    await fault(shop, "webhook", "drop", "*", times=None)


async def checkout(shop: Shop, ending: str, seconds: int = BRIEF, **fields: Any) -> Made:
    """Make a hold that is to end in this way: one that a deadline ends gets a near one."""
    if ending == "deadline":
        hold_id, session_id = await brief_checkout(shop, seconds=seconds, **fields)
        return {"holdId": hold_id, "checkoutSessionId": session_id}
    return await shop.checkout(**fields)


def end(shop: Shop, made: Made, ending: str) -> "asyncio.Task[Any]":
    """Bring the end about: ask for it, or leave it to the deadline."""

    async def ask() -> None:
        if ending == "release":
            await shop.stack.post(made["holdId"], "release", {"reason": "gone home"})

    return asyncio.create_task(ask())


async def fired(shop: Shop, rule: str) -> None:
    async def is_so() -> bool:
        return any(each["id"] == rule and each["fired"] for each in await shop.stripe.control("/faults", "GET"))

    await until(is_so, "the fault has fired")


async def sold_once(shop: Shop, made: Made, *, reason: str = "payment") -> None:
    """Wait until the hold is sold and paid; check stock and books."""
    hold = await shop.until_status(made["holdId"], "committed")

    async def captured() -> bool:
        return bool((await shop.stripe.books(made["checkoutSessionId"]))["net"] == LINE["unitAmount"])

    await until(captured, "the money is captured")
    assert hold["reason"] == reason
    assert await shop.stock() == (9, 0)
    await assert_stock_adds_up(shop.stack.engine)


async def given_back(shop: Shop, made: Made, ending: str) -> None:
    """Wait until the hold has ended as asked for; check that nobody can pay and nobody has."""
    status, reason = {"deadline": ("expired", "deadline"), "release": ("released", "gone home")}[ending]
    assert (await shop.until_status(made["holdId"], status))["reason"] == reason
    assert await shop.stock() == (10, 0)
    session = await shop.stripe.stripe.v1.checkout.sessions.retrieve_async(made["checkoutSessionId"])
    assert (session.status, session.payment_status) == ("expired", "unpaid")
    await assert_stock_adds_up(shop.stack.engine)


ENDINGS = pytest.mark.parametrize("ending", ["deadline", "release"])


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
    made = await checkout(shop, ending)
    await shop.pay(made["checkoutSessionId"])
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
    answer = await shop.stack.post(made["holdId"], "commit")
    expired = kind == "checkout.session.expired"
    assert (answer.status_code, answer.json()["status"]) == ((409, "released") if expired else (200, "committed"))
    assert await shop.stock() == ((10, 0) if expired else (9, 0))
    await assert_stock_adds_up(shop.stack.engine)


# A webhook that is lost


@ENDINGS
async def test_a_payment_of_which_nobody_told_is_found_at_the_end(shop: Shop, ending: str) -> None:
    await lose_webhooks(shop)
    made = await checkout(shop, ending)
    await shop.pay(made["checkoutSessionId"])
    asked = end(shop, made, ending)
    await sold_once(shop, made)
    await asked


@ENDINGS
async def test_who_tells_of_a_payment_that_was_found_tells_nothing_new(shop: Shop, ending: str) -> None:
    await fault(shop, "webhook", "hold", "*", times=None)
    made = await checkout(shop, ending)
    await shop.pay(made["checkoutSessionId"])
    asked = end(shop, made, ending)
    await sold_once(shop, made)
    await asked
    await shop.stripe.control("/webhooks/release")
    await shop.until_heard("checkout.session.completed", made["checkoutSessionId"])
    await shop.until_heard("payment_intent.succeeded", made["checkoutSessionId"])
    await sold_once(shop, made)
    with pytest.raises(Exception, match="not found"):
        await shop.case_of(await shop.intent_of(made["checkoutSessionId"])).describe()


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


# While the closing hangs


@ENDINGS
@pytest.mark.parametrize("effect", ["timeout", "delay"])
@pytest.mark.parametrize("how", ["payment", "commit"])
async def test_a_sale_need_not_wait_for_a_closing_that_hangs(shop: Shop, effect: str, how: str, ending: str) -> None:
    hanging = await at_expire(shop, effect, seconds=60)
    made = await checkout(shop, ending, seconds=1)
    asked = end(shop, made, ending)
    await fired(shop, hanging)
    async with asyncio.timeout(4):  # the call that hangs has 10 s
        if how == "commit":
            answer = await shop.stack.post(made["holdId"], "commit")
            assert (answer.status_code, answer.json()["status"]) == (200, "committed")
        else:
            await shop.pay(made["checkoutSessionId"])
            await shop.until_status(made["holdId"], "committed")
    assert await shop.stock() == (9, 0)
    await shop.stripe.control("/faults", "DELETE")
    await asked


# Manual capture


async def test_money_that_is_authorised_at_the_deadline_sells_and_is_captured(shop: Shop) -> None:
    await lose_webhooks(shop)
    made = await checkout(shop, "deadline", capture_method="manual")
    await shop.pay(made["checkoutSessionId"])
    await sold_once(shop, made)


async def test_money_that_is_authorised_at_a_cancel_goes_back(shop: Shop) -> None:
    await lose_webhooks(shop)
    made = await checkout(shop, "release", captureMethod="manual")
    await shop.pay(made["checkoutSessionId"])
    await end(shop, made, "release")
    assert (await shop.until_status(made["holdId"], "released"))["reason"] == "gone home"
    books = await shop.stripe.books(made["checkoutSessionId"])
    assert (books["status"], books["captured"], books["capturable"]) == ("canceled", 0, 0)
    assert await shop.stock() == (10, 0)


# Money that is under way


async def until_it_waits_for(shop: Shop, made: Made, seconds: int) -> None:
    async def is_so() -> bool:
        ends = datetime.fromisoformat((await shop.stack.read(made["holdId"]))["expiresAt"])
        return abs(ends - datetime.now(UTC) - timedelta(seconds=seconds)) < timedelta(minutes=1)

    await until(is_so, f"{made['holdId']} waits {seconds} s")


async def test_a_debit_found_at_the_deadline_is_waited_for(shop: Shop) -> None:
    await lose_webhooks(shop)
    made = await checkout(shop, "deadline")
    await shop.pay(made["checkoutSessionId"], "debit")
    await until_it_waits_for(shop, made, GRACES["sepa_debit"])
    assert await shop.stock() == (9, 1)
    await shop.stripe.control("/faults", "DELETE")
    await shop.stripe.control(f"/payment_intents/{await shop.intent_of(made['checkoutSessionId'])}/settle")
    await sold_once(shop, made)


@pytest.mark.parametrize("comes", [True, False], ids=["comes", "fails"])
async def test_a_cancel_waits_for_a_debit_under_way(shop: Shop, comes: bool) -> None:
    await lose_webhooks(shop)
    made = await checkout(shop, "release")
    await shop.pay(made["checkoutSessionId"], "debit")
    await shop.stack.run_of(made["holdId"]).signal("cancel", Cancel("shopper", "gone home"))
    await until_it_waits_for(shop, made, GRACES["sepa_debit"])
    await shop.stripe.control("/faults", "DELETE")
    await shop.stripe.control(f"/payment_intents/{await shop.intent_of(made['checkoutSessionId'])}/settle", ok=comes)
    if comes:
        await sold_once(shop, made)
    else:
        assert (await shop.until_status(made["holdId"], "released"))["reason"] == "gone home"
        assert await shop.stock() == (10, 0)


# Days in which Stripe says nothing


@pytest.fixture
async def skipping(database: str) -> AsyncIterator[tuple[Shop, WorkflowEnvironment]]:
    """A shop on a Temporal server that skips time; Stripe, Postgres and the shopper keep the real one.

    A page there lives 35 minutes, the shortest that Stripe allows; its stock waits for Stripe two minutes longer.
    """
    environment = await WorkflowEnvironment.start_time_skipping_v2(
        dev_server_existing_path=str(temporal_binary()),
        dev_server_extra_args=[
            *TEMPORAL_FLAGS,
            "--dynamic-config-value",
            "frontend.WorkflowTimeSkippingEnabled=true",
        ],
        data_converter=data_converter,
    )
    async with environment:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TEMPORAL_ADDRESS", environment.client.service_client.config.target_host)
            async with running_shop(
                database,
                environment.client,
                INVENTORY_HOLD_MAX_TTL_SECONDS="1200",
                PAYMENT_CLOSE_GRACE_SECONDS="120",
            ) as shop:
                yield shop, environment


async def test_stripe_away_for_longer_than_anybody_can_pay_ends_the_hold_with_an_alert(
    skipping: tuple[Shop, WorkflowEnvironment],
) -> None:
    shop, time = skipping
    made = await shop.checkout()
    run = shop.stack.run_of(made["holdId"])
    away = await fault(shop, "api", "error", "checkout.sessions.*", times=None, status=503, stored=False)
    await time.fast_forward(run, 1201)
    await fired(shop, away)
    assert await shop.stock() == (9, 1)
    await time.fast_forward(run, 35 * 60 - 1201 + 60)  # the page has ended; of the grace a minute is left
    assert await shop.stock() == (9, 1)
    assert shop.stack.counted("inventory_payment_trouble") == 0

    await time.fast_forward(run, 90)

    assert (await shop.until_status(made["holdId"], "expired"))["reason"] == "deadline"
    assert shop.stack.counted("inventory_payment_trouble") == 1
    assert await shop.stock() == (10, 0)


async def test_a_debit_that_is_under_way_after_its_grace_gives_the_stock_back_with_an_alert(
    skipping: tuple[Shop, WorkflowEnvironment],
) -> None:
    shop, time = skipping
    made = await shop.checkout()
    await shop.pay(made["checkoutSessionId"], "debit")
    await until_it_waits_for(shop, made, GRACES["sepa_debit"])
    await time.fast_forward(shop.stack.run_of(made["holdId"]), GRACES["sepa_debit"] + 60)
    await shop.until_status(made["holdId"], "expired")
    assert shop.stack.counted("inventory_payment_trouble") == 1
    assert await shop.stock() == (10, 0)

    await shop.stripe.control(f"/payment_intents/{await shop.intent_of(made['checkoutSessionId'])}/settle")
    case = shop.case_of(await shop.intent_of(made["checkoutSessionId"]))
    await shop.until_status(made["holdId"], "committed")
    assert await case.result() == LatePaymentEnded("reacquired", "The stock was still there: the hold is sold.")
