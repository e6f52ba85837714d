"""What Stripe's events do once a hold has ended: refunds and disputes, and whatever comes late or twice."""

from typing import Any

import pytest

from payments.events import HANDLED_EVENT_TYPES
from tests.paying import Shop, event, named
from tests.payments.endings import counted, only
from tests.waiting import until
from workflows.late_payment import LatePaymentWorkflow
from workflows.payment_messages import CloseCase

Made = dict[str, Any]


@pytest.fixture
async def shop(corner: Shop) -> Shop:
    return corner


async def bought(shop: Shop, **fields: Any) -> Made:
    """Sell a hold by card, and return it with its payment."""
    made = await shop.checkout(**fields)
    await shop.pay(made["checkoutSessionId"])
    hold = await shop.until_status(made["holdId"], "committed")
    await shop.stack.run_of(made["holdId"]).result()
    await shop.until_delivered()
    return {**made, "paymentIntentId": hold["paymentIntentId"]}


# charge.refunded, refund.*, charge.dispute.*


async def refund(shop: Shop, made: Made) -> str:
    v1 = shop.stripe.stripe.v1
    return (await v1.refunds.create_async({"payment_intent": made["paymentIntentId"], "amount": 500})).id


@pytest.mark.parametrize("kind", ["charge.refunded", "refund.created", "refund.updated"])
async def test_a_refund_by_hand_is_noted_and_puts_nothing_back(shop: Shop, kind: str) -> None:
    made = await bought(shop)
    before = counted(shop, kind, "recorded")
    await only(shop, kind)
    refund_id = await refund(shop, made)
    if kind == "refund.updated":
        await shop.send(event(kind, {"id": refund_id, "payment_intent": made["paymentIntentId"], "metadata": {}}))

    async def noted() -> bool:
        return counted(shop, kind, "recorded") == before + 1

    await until(noted, f"{kind} counted")
    assert await shop.stock() == (9, 0)
    assert (await shop.stack.read(made["holdId"]))["status"] == "committed"


async def test_a_dispute_is_noted_and_puts_nothing_back(shop: Shop) -> None:
    made = await bought(shop)
    kinds = sorted(kind for kind in HANDLED_EVENT_TYPES if kind.startswith("charge.dispute."))
    before = [counted(shop, kind, "recorded") for kind in kinds]
    await shop.stripe.control(f"/payment_intents/{made['paymentIntentId']}/dispute")
    await shop.until_heard("charge.dispute.created", made["checkoutSessionId"])
    for kind in kinds:
        if kind != "charge.dispute.created":
            await shop.send(event(kind, {"id": "du_1", "payment_intent": made["paymentIntentId"], "metadata": {}}))
    assert [counted(shop, kind, "recorded") for kind in kinds] == [n + 1 for n in before]
    assert await shop.stock() == (9, 0)
    assert (await shop.stack.read(made["holdId"]))["status"] == "committed"


async def refunded_late(shop: Shop) -> tuple[Made, str, str]:
    """Let a payment come when its hold is gone and its stock too; return the hold, its payment and our refund."""
    made = await shop.checkout()
    await shop.stack.post(made["holdId"], "release")
    await shop.stack.put(0, shop.item)
    await shop.pay(made["checkoutSessionId"], late="complete")
    intent = await shop.intent_of(made["checkoutSessionId"])
    await until(lambda: _ended(shop, intent), "late payment refunded")
    return made, intent, (await shop.stripe.books(intent))["refunds"][0]["id"]


async def _ended(shop: Shop, intent: str) -> bool:
    try:
        return (await shop.case_of(intent).result()).outcome == "refunded"
    except Exception:  # noqa: BLE001 - it has not begun
        return False


async def test_a_refund_of_ours_that_fails_calls_a_person(shop: Shop) -> None:
    _, intent, refund_id = await refunded_late(shop)
    alerts = shop.stack.counted("inventory_late_payment", outcome="needs_person")

    await shop.stripe.control(f"/refunds/{refund_id}/settle", ok=False)
    await shop.until_heard("refund.failed", refund_id)

    case = shop.case_of(intent)
    await until(lambda: _waits(case), "the case waits for a person")
    assert shop.stack.counted("inventory_late_payment", outcome="needs_person") == alerts + 1
    assert counted(shop, "refund.failed", "refund_failed") >= 1
    await case.signal(LatePaymentWorkflow.close, CloseCase(actor="ops", note="sent by bank"))
    assert (await case.result()).outcome == "closed_by_person"


async def _waits(case: Any) -> bool:
    return bool(await case.query(LatePaymentWorkflow.waits_for_person))


# After the end: committed is final, and what has ended hears of money only


@pytest.mark.parametrize("kind", sorted(HANDLED_EVENT_TYPES))
async def test_after_the_sale_no_event_changes_it(shop: Shop, kind: str) -> None:
    made = await bought(shop)
    row = await shop.stack.read(made["holdId"])
    of_session = kind.startswith("checkout.session.")
    ids = {
        "id": made["checkoutSessionId"] if of_session else made["paymentIntentId"],
        "payment_intent": made["paymentIntentId"],
        "payment_status": "unpaid",
    }
    if kind == "refund.failed":
        ids["payment_intent"] = f"pi_{made['holdId']}"  # a case of its own, or it would wait there for a person
    answer = await shop.send(event(kind, {**ids, "metadata": named(made["holdId"])}))
    assert answer.json()["result"] in ("known", "ended_before", "recorded", "refund_failed")
    assert await shop.stack.read(made["holdId"]) == row
    assert await shop.stock() == (9, 0)


@pytest.mark.parametrize(
    "kind",
    [
        "checkout.session.expired",
        "payment_intent.canceled",
        "payment_intent.payment_failed",
        "payment_intent.processing",
    ],
)
async def test_what_has_ended_ends_no_second_time(shop: Shop, kind: str) -> None:
    made = await shop.checkout()
    await shop.stack.post(made["holdId"], "release", {"reason": "first"})
    await shop.stack.run_of(made["holdId"]).result()
    row = await shop.stack.read(made["holdId"])
    answer = await shop.send(event(kind, {"id": made["checkoutSessionId"], "metadata": named(made["holdId"])}))
    assert answer.json()["result"] == "ended_before"
    assert await shop.stack.read(made["holdId"]) == row
    assert await shop.stock() == (10, 0)
