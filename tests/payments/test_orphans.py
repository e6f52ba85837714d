"""A hold with a payment whose workflow was lost: the audit's new run closes the payment before stock goes back."""

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from core.database import fetch
from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import end
from domain.holds import HoldStatus
from tests.paying import Shop, running_shop
from tests.payments.endings import lose_webhooks, sold_once
from tests.payments.test_late_payment import outcome, pay_late
from tests.receivers import SECRET, receiving
from tests.waiting import until
from tests.workflow.test_audit import audited
from workflows.messages import Ended

_OVERDUE = 'UPDATE "InventoryHold" SET "expiresAt" = now() - interval \'1 minute\' WHERE id = %(hold)s'


@pytest.fixture
async def shop(database: str, temporal: Client) -> AsyncIterator[Shop]:
    """A shop for each test: an audit looks at all workflows of its task queue."""
    async with running_shop(database, temporal) as running:
        yield running


@pytest.mark.parametrize("paid", [False, True], ids=["unpaid", "paid"])
async def test_an_orphan_is_given_back_only_once_it_can_no_longer_be_paid_for(shop: Shop, *, paid: bool) -> None:
    await lose_webhooks(shop)
    made = await shop.checkout()
    await shop.stack.run_of(made["holdId"]).terminate()
    if paid:
        await shop.pay(made["checkoutSessionId"])
    await fetch(shop.stack.engine, _OVERDUE, {"hold": made["holdId"]})

    report = await audited(shop.stack)

    assert report.found == {"lost_run": 1}
    if paid:
        await sold_once(shop, made)
        return
    hold = await shop.until_status(made["holdId"], "expired")
    assert hold["reason"] == "orphaned"
    with pytest.raises(AssertionError):  # its page is closed
        await shop.pay(made["checkoutSessionId"])
    assert await shop.stock() == (10, 0)
    await assert_stock_adds_up(shop.stack.engine)


async def test_a_sale_whose_run_lost_its_end_is_mended_without_giving_the_money_back(shop: Shop) -> None:
    await lose_webhooks(shop)
    made = await shop.checkout(captureMethod="manual")
    await shop.pay(made["checkoutSessionId"])
    intent = await shop.intent_of(made["checkoutSessionId"])
    await end(shop.stack.engine, made["holdId"], HoldStatus.COMMITTED, payment=intent)

    report = await audited(shop.stack)

    assert [(finding.kind, finding.mended) for finding in report.first] == [("stray_run", True)]
    assert await shop.stack.run_of(made["holdId"]).result() == Ended("committed")
    assert (await shop.stripe.books(made["checkoutSessionId"]))["captured"] == 1999


async def test_a_late_payment_is_told_of_after_the_end_that_it_changed(database: str, temporal: Client) -> None:
    async with (
        receiving() as receiver,
        running_shop(
            database, temporal, HOLD_EVENTS_WEBHOOK_URL=receiver.url, HOLD_EVENTS_WEBHOOK_SECRET=SECRET
        ) as shop,
    ):
        made = await shop.checkout()
        await shop.stack.post(made["holdId"], "release")
        intent = await pay_late(shop, made["checkoutSessionId"])
        assert await outcome(shop, intent) == "reacquired"
        await until(lambda: "hold.late_payment" in receiver.of(made["holdId"]), "hold.late_payment has come")

    assert receiver.of(made["holdId"]) == ["hold.created", "hold.released", "hold.committed", "hold.late_payment"]
    sold, late = (event["data"] for event in receiver.taken[-2:])
    assert (sold["status"], sold["reason"]) == ("committed", "late_payment")
    assert (late["outcome"], late["paymentIntentId"]) == ("reacquired", intent)
