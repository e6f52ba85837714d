"""What Stripe's dashboard does to a payment: no sale of what was refunded first, and a record in the order's story."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.database import fetch
from inventory.archive import archive_holds
from tests.api.asking import fresh
from tests.commands import holdfast
from tests.paying import LINE, Shop, event
from tests.payments.endings import counted
from tests.payments.own_payments import attached, made, own_intent, pay_intent
from tests.stack import SHOP

_AGE = """
UPDATE "InventoryHold" SET "createdAt" = "createdAt" - %(by)s, "committedAt" = "committedAt" - %(by)s,
  "updatedAt" = "updatedAt" - %(by)s WHERE id = %(hold)s
"""


@pytest.fixture
async def shop(corner: Shop) -> Shop:
    return corner


async def hold_webhooks(shop: Shop) -> None:
    await shop.stripe.control("/faults", on="webhook", effect="hold", match="*", times=None)


async def refund(shop: Shop, intent: str, **fields: Any) -> str:
    wanted: Any = {"payment_intent": intent, **fields}
    return (await shop.stripe.stripe.v1.refunds.create_async(wanted)).id


async def events_of(shop: Shop, order: str) -> list[dict[str, Any]]:
    answer = await shop.stack.http.get(f"/api/inventory/orders/{SHOP}/{order}")
    assert answer.status_code == 200, answer.text
    return [event for payment in answer.json()["payments"] for event in payment["events"]]


@pytest.mark.parametrize("how", ["refunded", "cancelled"])
async def test_what_was_taken_back_before_its_event_arrived_does_not_sell(shop: Shop, how: str) -> None:
    await hold_webhooks(shop)
    opened = await shop.checkout(captureMethod="manual" if how == "cancelled" else "automatic")
    await shop.pay(opened["checkoutSessionId"])
    intent = await shop.intent_of(opened["checkoutSessionId"])
    kind = "payment_intent.succeeded"
    if how == "refunded":
        await refund(shop, intent)
    else:
        kind = "payment_intent.amount_capturable_updated"
        await shop.stripe.stripe.v1.payment_intents.cancel_async(intent)
    sent = await shop.stripe.control("/webhooks", "GET")
    (of_it,) = [each for each in sent if each["type"] == kind and each["object"] == intent]
    await shop.stripe.control("/webhooks/release", event=of_it["event"])
    await shop.until_heard(kind, intent)
    assert (await shop.stack.read(opened["holdId"]))["status"] == "active"
    assert counted(shop, kind, "taken_back") == 1
    await shop.stripe.control("/webhooks/release")
    await shop.until_heard("checkout.session.completed", opened["checkoutSessionId"])
    if how == "cancelled":  # the page is complete and unpaid: Holdfast asks Stripe again when the hold ends
        await shop.stack.post(opened["holdId"], "release", {"reason": "payment_taken_back"})
    hold = await shop.until_status(opened["holdId"], "released")
    assert hold["reason"] == "payment_taken_back"
    assert await shop.stock() == (10, 0)


async def test_a_part_that_was_refunded_first_still_sells(shop: Shop) -> None:
    await hold_webhooks(shop)
    opened = await shop.checkout()
    await shop.pay(opened["checkoutSessionId"])
    await refund(shop, await shop.intent_of(opened["checkoutSessionId"]), amount=500)
    await shop.stripe.control("/webhooks/release")
    await shop.until_status(opened["holdId"], "committed")


async def test_while_stripe_does_not_answer_the_event_counts(shop: Shop) -> None:
    hold_id, intent = await made(shop), await own_intent(shop)
    await attached(shop, hold_id, intent)
    await shop.stripe.control("/faults", on="api", effect="error", match="payment_intents.retrieve", times=None)
    await pay_intent(shop, intent)
    await shop.until_status(hold_id, "committed")


async def test_refunds_and_disputes_of_the_dashboard_are_in_the_orders_story(shop: Shop) -> None:
    order = fresh("order")
    opened = await shop.checkout(reference=order)
    await shop.pay(opened["checkoutSessionId"])
    await shop.until_status(opened["holdId"], "committed")
    await shop.stack.run_of(opened["holdId"]).result()
    intent = await shop.intent_of(opened["checkoutSessionId"])
    refund_id = await refund(shop, intent, amount=500, reason="requested_by_customer")
    await shop.until_heard("charge.refunded", opened["checkoutSessionId"])
    await shop.until_heard("refund.created", refund_id)
    await shop.stripe.control(f"/payment_intents/{intent}/dispute")
    await shop.until_heard("charge.dispute.created", opened["checkoutSessionId"])
    await fetch(shop.stack.engine, _AGE, {"hold": opened["holdId"], "by": timedelta(days=90)})
    moved = archive_holds(shop.stack.engine, before=datetime.now(UTC) - timedelta(days=60))
    assert [count async for count in moved] == [1]
    lost = {"id": "du_1", "payment_intent": intent, "amount": 1999, "currency": "eur", "status": "lost", "metadata": {}}
    for _ in range(2):
        closed = event("charge.dispute.closed", lost, id=f"evt_{order}", created=4_000_000_000)
        assert (await shop.send(closed)).json()["result"] == "recorded"

    told = await events_of(shop, order)

    by_type = {each["type"]: each for each in told}
    assert len(told) == len(by_type) == 4
    refunded = by_type["refund.created"]
    assert (refunded["amount"], refunded["currency"], refunded["objectId"]) == (500, "eur", refund_id)
    assert (refunded["status"], refunded["reason"]) == ("succeeded", "requested_by_customer")
    assert by_type["charge.refunded"]["status"] == "refunded_in_part"
    assert by_type["charge.dispute.created"]["reason"] == "fraudulent"
    assert told[-1]["status"] == "lost"
    shown = await holdfast(shop.stack, "orders", "show", order, "--shop", SHOP)
    assert f"refund.created 500 eur, succeeded, requested_by_customer, {refund_id}" in shown.out


async def test_a_part_that_was_captured_is_in_the_orders_story(shop: Shop) -> None:
    order = fresh("order")
    await hold_webhooks(shop)
    opened = await shop.checkout(reference=order, captureMethod="manual")
    await shop.pay(opened["checkoutSessionId"])
    intent = await shop.intent_of(opened["checkoutSessionId"])
    wanted: Any = {"amount_to_capture": 500}
    await shop.stripe.stripe.v1.payment_intents.capture_async(intent, wanted)
    await shop.stripe.control("/webhooks/release")
    await shop.until_status(opened["holdId"], "committed")
    await shop.until_heard("payment_intent.succeeded", intent)
    (part,) = await events_of(shop, order)
    assert (part["status"], part["amount"], part["type"]) == ("captured_in_part", 500, "payment_intent.succeeded")
    assert LINE["unitAmount"] > 500


@pytest.mark.parametrize(
    "odd",
    [{"amount": -1}, {"amount": True}, {"amount": 2**80}, {"currency": "\0"}, {"status": 7}, {"reason": "x" * 5000}],
)
async def test_an_event_with_odd_details_is_recorded_without_them(shop: Shop, odd: dict[str, Any]) -> None:
    order = fresh("order")
    opened = await shop.checkout(reference=order)
    of = {"id": "re_1", "payment_intent": f"pi_{order}", "metadata": {}, **odd}
    names = {"inventory_reservation_id": opened["holdId"], "shop_id": SHOP}
    answer = await shop.send(event("refund.updated", {**of, "metadata": names}, created="never"))
    assert answer.json()["result"] == "recorded"
    (told,) = await events_of(shop, order)
    assert [told[name] for name in odd] == [None]
