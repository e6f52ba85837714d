"""Payments of which no event arrived are found in Stripe's list: by the daily workflow, and by the command at once."""

import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import Client, ScheduleActionStartWorkflow

from activities.payments_schedule import PAYMENTS_SCHEDULE, last_run_before, schedule_reconciliation
from core.database import fetch
from dev.harness.invariants import assert_stock_adds_up
from holds.event_delivery import background_task_queue
from holds.payment_reconciliation import PaymentReconciler, lookback
from holds.payments_service import PaymentsService
from holds.service import HoldService
from holds.workflow_client import WorkflowClient
from payments.accounts import open_accounts
from tests.commands import holdfast
from tests.paying import LINE, Shop, named
from tests.payments.endings import lose_webhooks, sold_once
from tests.payments.own_payments import attached, made, own_intent, own_session, pay_intent
from tests.payments.test_late_payment import by_hand, outcome, until_waits_for_person
from tests.simulated import API_KEY, SECRET
from tests.stack import PATIENT, SHOP
from tests.waiting import until
from workflows import late_payment
from workflows.payment_reconciliation import (
    PaymentReconciliationWorkflow,
    ReconcileReport,
    ReconcileRequest,
    ReconcileWindow,
)

Found = list[tuple[str, str]]
AGO = timedelta(hours=1)
NOW = timedelta(0)


@pytest.fixture
async def shop(corner: Shop) -> AsyncIterator[Shop]:
    """A shop whose payments are an hour old when they are made: a fresh one is left to its event."""
    await corner.stripe.control("/reset")
    endpoint = {"url": f"{corner.stack.url}/api/webhooks/stripe", "secrets": [SECRET]}
    await corner.stripe.control("/webhooks/endpoints", "PUT", endpoints=[endpoint])
    await corner.stripe.control("/clock", reset=True)
    await corner.stripe.control("/clock", advance=-AGO.total_seconds())
    yield corner
    await corner.stripe.control("/clock", reset=True)


def window() -> ReconcileWindow:
    now = datetime.now(UTC)
    return ReconcileWindow(now - 2 * AGO, now)


async def reconciled(shop: Shop, *, dry_run: bool = False, page_size: int = 2, later: timedelta = NOW) -> Found:
    """Look at all payments, a small page at a time, as if it were so much later; return what was found."""
    workflows = WorkflowClient(shop.stack.temporal, shop.stack.task_queue)
    holds = HoldService(shop.stack.engine, workflows, shop.stack.settings)
    found: Found = []
    async with open_accounts(shop.stack.settings) as accounts:
        payments = PaymentsService(shop.stack.engine, holds, workflows, shop.stack.settings, accounts)
        left = timedelta(minutes=10) - later
        reconciler = PaymentReconciler(
            shop.stack.engine, payments, workflows, accounts, page_size=page_size, left_to_events=left
        )
        looking: ReconcileWindow | None = window()
        while looking is not None:
            page = await reconciler.page(looking, dry_run=dry_run)
            found += [(each.kind, each.payment_intent_id) for each in page.found]
            after = page.next_after
            looking = None if after is None else ReconcileWindow(looking.since, looking.until, after)
    return found


async def paid_in_silence(shop: Shop, **fields: Any) -> tuple[dict[str, Any], str]:
    await lose_webhooks(shop)
    opened = await shop.checkout(**fields)
    await shop.pay(opened["checkoutSessionId"])
    return opened, await shop.intent_of(opened["checkoutSessionId"])


async def paid_too_late(shop: Shop) -> tuple[dict[str, Any], str]:
    await lose_webhooks(shop)
    opened = await shop.checkout()
    await shop.stack.post(opened["holdId"], "release")
    await shop.pay(opened["checkoutSessionId"], late="complete")
    return opened, await shop.intent_of(opened["checkoutSessionId"])


@pytest.mark.parametrize("capture", ["automatic", "manual"])
async def test_a_payment_of_an_active_hold_is_delivered_as_its_event_would_have_been(shop: Shop, capture: str) -> None:
    opened, intent = await paid_in_silence(shop, captureMethod=capture)
    assert await reconciled(shop, dry_run=True) == [("active", intent)]
    assert (await shop.stack.read(opened["holdId"]))["status"] == "active"
    assert await reconciled(shop) == [("active", intent)]
    await sold_once(shop, opened)
    assert await reconciled(shop) == []


async def test_a_payment_of_a_hold_that_had_ended_becomes_a_case(shop: Shop) -> None:
    opened, intent = await paid_too_late(shop)
    assert await reconciled(shop) == [("late", intent)]
    assert await outcome(shop, intent) == "reacquired"
    await sold_once(shop, opened, reason="late_payment")
    assert await reconciled(shop) == []


async def test_what_has_its_hold_its_case_or_nothing_to_do_with_us_is_left_alone(shop: Shop) -> None:
    sold = await shop.checkout()
    await shop.pay(sold["checkoutSessionId"])
    await shop.until_status(sold["holdId"], "committed")
    await lose_webhooks(shop)
    refunded = await shop.checkout()
    await shop.pay(refunded["checkoutSessionId"])
    refund: Any = {"payment_intent": await shop.intent_of(refunded["checkoutSessionId"])}
    await shop.stripe.stripe.v1.refunds.create_async(refund)
    for metadata in ({}, named("h-1", "another-installation"), {"shop_id": SHOP}):
        await pay_intent(shop, await own_intent(shop, metadata))
    await own_intent(shop, named(sold["holdId"]))  # nobody paid it
    await shop.checkout()
    assert await reconciled(shop) == []


async def test_a_payment_that_the_shop_attached_without_metadata_is_found(shop: Shop) -> None:
    await lose_webhooks(shop)
    hold_id, intent = await made(shop), await own_intent(shop)
    await attached(shop, hold_id, intent)
    await pay_intent(shop, intent)
    assert await reconciled(shop) == [("active", intent)]
    assert (await shop.until_status(hold_id, "committed"))["paymentIntentId"] == intent


@pytest.mark.parametrize("found", ["active", "late"])
async def test_a_payment_on_a_session_that_the_shop_attached_without_metadata_is_found(shop: Shop, found: str) -> None:
    await lose_webhooks(shop)
    hold_id, session_id = await made(shop), await own_session(shop)
    await attached(shop, hold_id, session_id)
    if found == "late":
        await shop.stack.post(hold_id, "release")
    await shop.pay(session_id, late="complete" if found == "late" else "no")
    intent = await shop.intent_of(session_id)
    assert await reconciled(shop) == [(found, intent)]
    assert (await shop.until_status(hold_id, "committed"))["paymentIntentId"] == intent
    assert await reconciled(shop) == []


async def test_a_free_order_that_was_completed_after_its_hold_had_ended_is_found(shop: Shop) -> None:
    await lose_webhooks(shop)
    opened = await shop.checkout(items=[{**LINE, "sku": shop.item, "unitAmount": 0}])
    await shop.stack.post(opened["holdId"], "release")
    await shop.pay(opened["checkoutSessionId"], late="complete")
    assert await reconciled(shop) == []  # its page is not past its expiry: it may have been completed just now
    assert await reconciled(shop, later=timedelta(days=1)) == [("late", opened["checkoutSessionId"])]
    await shop.until_status(opened["holdId"], "committed")
    assert await reconciled(shop, later=timedelta(days=1)) == []


async def test_a_payment_for_a_hold_that_the_shop_does_not_have_asks_a_person_once(shop: Shop) -> None:
    await lose_webhooks(shop)
    intent = await own_intent(shop, named("h-unknown"))
    await pay_intent(shop, intent)
    assert await reconciled(shop) == [("unknown_hold", intent)]
    await until_waits_for_person(shop, intent, late_payment.NO_SUCH_HOLD)
    assert await reconciled(shop) == []
    assert await by_hand(shop, intent) == "closed_by_person"
    assert await reconciled(shop) == []
    await fetch(shop.stack.engine, 'DELETE FROM "InventoryPaymentEvent"', {})  # earlier releases do not note it there
    assert await reconciled(shop) == []


@pytest.mark.parametrize("first", ["event", "list"])
async def test_a_payment_is_taken_once_whichever_comes_first(shop: Shop, first: str) -> None:
    await shop.stripe.control("/faults", on="webhook", effect="hold", match="*", times=None)
    opened = await shop.checkout()
    await shop.pay(opened["checkoutSessionId"])
    if first == "list":
        assert len(await reconciled(shop)) == 1
    await shop.stripe.control("/webhooks/release")
    await shop.until_heard("payment_intent.succeeded", opened["checkoutSessionId"])
    await sold_once(shop, opened)
    assert await reconciled(shop) == []
    with pytest.raises(Exception, match="not found"):
        await shop.case_of(await shop.intent_of(opened["checkoutSessionId"])).describe()
    await assert_stock_adds_up(shop.stack.engine)


@pytest.mark.parametrize("amount", [1999, 0])
async def test_a_payment_that_was_just_made_is_left_to_its_event(shop: Shop, amount: int) -> None:
    await shop.stripe.control("/clock", reset=True)
    await lose_webhooks(shop)
    opened = await shop.checkout(items=[{**LINE, "sku": shop.item, "unitAmount": amount}])
    await shop.pay(opened["checkoutSessionId"])
    assert await reconciled(shop) == []


async def run_workflow(shop: Shop) -> ReconcileReport:
    return await shop.stack.temporal.execute_workflow(
        PaymentReconciliationWorkflow.run,
        ReconcileRequest(),
        id=f"payments-{uuid.uuid4().hex}",
        task_queue=background_task_queue(shop.stack.task_queue),
    )


async def test_the_daily_workflow_finds_and_counts_them(shop: Shop) -> None:
    before = shop.stack.counted("inventory_unheard_payment", kind="late")
    opened, intent = await paid_too_late(shop)
    report = await run_workflow(shop)
    assert (report.found, [each.payment_intent_id for each in report.first]) == ({"late": 1}, [intent])
    await shop.until_status(opened["holdId"], "committed")
    assert shop.stack.counted("inventory_unheard_payment", kind="late") == before + 1
    assert (await run_workflow(shop)).found == {}
    assert shop.stack.counted("inventory_reconciliation") >= 2


async def test_the_daily_workflow_goes_on_when_stripe_does(shop: Shop) -> None:
    _, intent = await paid_in_silence(shop)
    await shop.stripe.control("/faults", on="api", effect="error", match="payment_intents.list", status=500, times=1)
    assert [each.payment_intent_id for each in (await run_workflow(shop)).first] == [intent]


async def test_the_command_tells_first_and_then_hands_over(shop: Shop) -> None:
    opened, intent = await paid_in_silence(shop)
    stripe = {"STRIPE_API_KEY": API_KEY, "STRIPE_API_BASE": shop.stripe.url, **PATIENT}
    since = f"{datetime.now(UTC) - 2 * AGO:%Y-%m-%dT%H:%M:%SZ}"
    command = ("payments", "reconcile", "--since", since)
    dry = await holdfast(shop.stack, *command, "--dry-run", **stripe)
    assert dry.code == 1
    assert f"{intent} of {SHOP} {opened['holdId']} is paid and its hold was still active." in dry.out
    assert (await shop.stack.read(opened["holdId"]))["status"] == "active"
    ran = await holdfast(shop.stack, *command, "--json", **stripe)
    (found,) = json.loads(ran.out)["found"]
    assert (ran.code, found["kind"], found["paymentIntentId"]) == (0, "active", intent)
    await sold_once(shop, opened)
    late = await holdfast(shop.stack, *command, "--until", since, **stripe)
    assert (late.code, "--since must be before --until" in late.err) == (2, True)


def test_the_run_before_is_known_however_late_a_run_begins() -> None:
    for late in (timedelta(0), timedelta(seconds=1), timedelta(hours=23)):
        due = datetime(2026, 3, 29, 3, 20, tzinfo=UTC)
        assert last_run_before(due + late) == datetime(2026, 3, 28, 3, 20, tzinfo=UTC)


async def test_the_schedule_runs_once_a_day_and_is_this_releases(temporal: Client) -> None:
    grace = {"boleto": 50 * 86_400}
    assert lookback({}) == timedelta(days=30)
    await schedule_reconciliation(temporal, "nobody-polls", lookback(grace))
    handle = temporal.get_schedule_handle(PAYMENTS_SCHEDULE)
    try:
        await handle.pause()
        described = await handle.describe()
        assert [each.every for each in described.schedule.spec.intervals] == [timedelta(days=1)]
        action = described.schedule.action
        assert isinstance(action, ScheduleActionStartWorkflow)
        (request,) = await temporal.data_converter.decode(list(action.args), [ReconcileRequest])
        assert request.lookback_seconds == 57 * 86_400
        await schedule_reconciliation(temporal, "nobody-polls", lookback(grace))
        assert (await handle.describe()).info.last_updated_at == described.info.last_updated_at
    finally:
        await handle.delete()


async def test_what_is_told_of_a_hold_that_is_paid_elsewhere_is_settled_by_a_person(shop: Shop) -> None:
    await lose_webhooks(shop)
    opened = await shop.checkout()
    assert (await shop.stack.post(opened["holdId"], "commit", {"paidElsewhere": True})).status_code == 200
    await shop.stack.run_of(opened["holdId"]).result()
    await shop.pay(opened["checkoutSessionId"], late="complete")
    intent = await shop.intent_of(opened["checkoutSessionId"])
    assert await reconciled(shop) == [("late", intent)]
    await until_waits_for_person(shop, intent, late_payment.PAID_ELSEWHERE)
    assert await by_hand(shop, intent) == "closed_by_person"

    async def kept() -> bool:
        return await reconciled(shop) == []

    await until(kept, "the case is not opened again")
