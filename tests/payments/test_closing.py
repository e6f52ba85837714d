"""What a hold does while its payment is being closed, and when Stripe says nothing for long."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.testing import WorkflowEnvironment

from dev.postgres import EmbeddedPostgres
from payments.grace_periods import GRACE_SECONDS_BY_METHOD
from tests.paying import Shop, running_shop
from tests.payments.endings import (
    ENDINGS,
    Made,
    at_expire,
    checkout,
    end,
    fault,
    fired,
    lose_webhooks,
    paid_checkout,
    sold_once,
)
from tests.payments.own_payments import attached, own_session, session_status
from tests.payments.own_payments import made as own_hold
from tests.servers import address_of, database_on
from tests.waiting import until
from workflows.hold import HoldWorkflow
from workflows.messages import Cancel

Skipping = tuple[Shop, WorkflowEnvironment]


@pytest.fixture
async def shop(corner: Shop) -> Shop:
    return corner


# While the closing hangs


@ENDINGS
@pytest.mark.parametrize("effect", ["timeout", "delay"])
@pytest.mark.parametrize("how", ["payment", "commit"])
async def test_a_sale_need_not_wait_for_a_closing_that_hangs(shop: Shop, effect: str, how: str, ending: str) -> None:
    hanging = await at_expire(shop, effect, seconds=3600, times=None)  # whoever waits for the closing waits for ever
    made = await checkout(shop, ending, seconds=1)
    asked = end(shop, made, ending)
    await fired(shop, hanging)
    if how == "commit":
        answer = await shop.stack.post(made["holdId"], "commit", {"paidElsewhere": True})
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
    made = await paid_checkout(shop, "deadline", capture_method="manual")
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
    made = await paid_checkout(shop, "deadline", "debit")
    await until_it_waits_for(shop, made, GRACE_SECONDS_BY_METHOD["sepa_debit"])
    assert await shop.stock() == (9, 1)
    await shop.stripe.control("/faults", "DELETE")
    await shop.stripe.control(f"/payment_intents/{await shop.intent_of(made['checkoutSessionId'])}/settle")
    await sold_once(shop, made)


@pytest.mark.parametrize("comes", [True, False], ids=["comes", "fails"])
async def test_a_cancel_waits_for_a_debit_under_way(shop: Shop, comes: bool) -> None:
    await lose_webhooks(shop)
    made = await checkout(shop, "release")
    await shop.pay(made["checkoutSessionId"], "debit")
    await shop.stack.run_of(made["holdId"]).signal(HoldWorkflow.cancel, Cancel("shopper", "gone home"))
    await until_it_waits_for(shop, made, GRACE_SECONDS_BY_METHOD["sepa_debit"])
    await shop.stripe.control("/faults", "DELETE")
    await shop.stripe.control(f"/payment_intents/{await shop.intent_of(made['checkoutSessionId'])}/settle", ok=comes)
    if comes:
        await sold_once(shop, made)
    else:
        assert (await shop.until_status(made["holdId"], "released"))["reason"] == "gone home"
        assert await shop.stock() == (10, 0)


# Days in which Stripe says nothing


@pytest.fixture(scope="module")
async def _skipping(
    postgres: EmbeddedPostgres, migrated_template: str, _time_skipping: WorkflowEnvironment
) -> AsyncIterator[Shop]:
    with database_on(postgres, migrated_template) as database:
        async with AsyncExitStack() as stack:
            with pytest.MonkeyPatch.context() as patch:  # for as long as it starts
                patch.setenv("TEMPORAL_ADDRESS", address_of(_time_skipping))
                running = running_shop(
                    database,
                    _time_skipping.client,
                    INVENTORY_HOLD_MAX_TTL_SECONDS="1200",
                    PAYMENT_CLOSE_GRACE_SECONDS="0",
                )
                shop = await stack.enter_async_context(running)
            yield shop


@pytest.fixture
async def skipping(_skipping: Shop, time_skipping: WorkflowEnvironment) -> Skipping:
    """A shop on a Temporal server that skips time; Stripe, Postgres and the shopper keep the real one.

    A page there lives 35 minutes, and its stock waits for Stripe's word five minutes longer, however short the grace.
    """
    await _skipping.renew()
    return _skipping, time_skipping


async def test_at_the_deadline_stock_stays_held_until_stripe_has_closed_the_page(skipping: Skipping) -> None:
    shop, time = skipping
    made = await shop.checkout()
    busy = await fault(shop, "api", "error", "checkout.sessions.*", times=None, status=429, stored=False)
    await time.fast_forward(shop.stack.run_of(made["holdId"]), 1201)
    await fired(shop, busy)
    assert (await shop.stack.read(made["holdId"]))["status"] == "active"
    assert await shop.stock() == (9, 1)

    await shop.stripe.control("/faults", "DELETE")

    await shop.until_status(made["holdId"], "expired")
    assert await session_status(shop, made["checkoutSessionId"]) == "expired"
    assert await shop.stock() == (10, 0)


async def test_the_deadline_closes_a_payment_that_the_shop_attached(skipping: Skipping) -> None:
    shop, time = skipping
    hold_id, page = await own_hold(shop), await own_session(shop)
    await attached(shop, hold_id, page)
    await time.fast_forward(shop.stack.run_of(hold_id), 1201)
    await shop.until_status(hold_id, "expired")
    assert await session_status(shop, page) == "expired"
    assert await shop.stock() == (10, 0)


async def test_stripe_away_for_longer_than_anybody_can_pay_ends_the_hold_with_an_alert(
    skipping: Skipping,
) -> None:
    shop, time = skipping
    made = await shop.checkout()
    run = shop.stack.run_of(made["holdId"])
    away = await fault(shop, "api", "error", "checkout.sessions.*", times=None, status=503, stored=False)
    await time.fast_forward(run, 1201)
    await fired(shop, away)
    assert await shop.stock() == (9, 1)
    await time.fast_forward(run, 35 * 60 - 1201 + 60)  # the page has ended a minute ago
    assert await shop.stock() == (9, 1)
    assert shop.stack.counted("inventory_payment_trouble") == 0

    await time.fast_forward(run, 300)

    assert (await shop.until_status(made["holdId"], "expired"))["reason"] == "deadline"
    assert shop.stack.counted("inventory_payment_trouble") == 1
    assert await shop.stock() == (10, 0)


async def test_a_debit_that_is_under_way_after_its_grace_gives_the_stock_back_with_an_alert(
    skipping: Skipping,
) -> None:
    shop, time = skipping
    made = await shop.checkout()
    await shop.pay(made["checkoutSessionId"], "debit")
    await until_it_waits_for(shop, made, GRACE_SECONDS_BY_METHOD["sepa_debit"])
    await time.fast_forward(shop.stack.run_of(made["holdId"]), GRACE_SECONDS_BY_METHOD["sepa_debit"] + 60)
    await shop.until_status(made["holdId"], "expired")
    assert shop.stack.counted("inventory_payment_trouble") == 1
    assert await shop.stock() == (10, 0)

    await shop.stripe.control(f"/payment_intents/{await shop.intent_of(made['checkoutSessionId'])}/settle")
    case = shop.case_of(await shop.intent_of(made["checkoutSessionId"]))
    await shop.until_status(made["holdId"], "committed")
    assert (await case.result()).outcome == "reacquired"
