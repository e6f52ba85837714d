"""One request tells an order's whole story, and delivers its events again."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.database import fetch
from domain.payments import Payment
from inventory.archive import archive_holds
from tests.api.asking import client, locked, refused
from tests.receivers import Receiver
from tests.stack import AUTHORITY_TOKEN, SHOP, Stack
from tests.waiting import until
from workflows.hold import HoldWorkflow
from workflows.payment_messages import PaymentFailed

pytestmark = pytest.mark.usefixtures("prompt_relay")

ORDERS = "/api/inventory/orders"
_AGE = """
UPDATE "InventoryHold" SET "createdAt" = "createdAt" - %(by)s, "releasedAt" = "releasedAt" - %(by)s,
  "updatedAt" = "updatedAt" - %(by)s WHERE id = %(hold)s
"""


async def story_of(stack: Stack, reference: str) -> dict[str, Any]:
    answer = await stack.http.get(f"{ORDERS}/{SHOP}/{reference}")
    assert answer.status_code == 200, answer.text
    story: dict[str, Any] = answer.json()
    return story


async def delivered(stack: Stack, reference: str, count: int) -> dict[str, Any]:
    """Return the story once that many of its events are known to have arrived."""

    async def are_known() -> bool:
        states = [each["state"] for each in (await story_of(stack, reference))["deliveries"]]
        return states.count("delivered") == count

    await until(are_known, f"{count} deliveries in the story")
    return await story_of(stack, reference)


async def test_an_order_tells_its_holds_changes_payments_and_deliveries(telling: Stack, receiver: Receiver) -> None:
    order = "order/1 'ä'"
    first = await telling.made(("TEE", 1), reference=order)
    second = await telling.made(("TEE", 3), reference=order, replace=True)
    assert (await telling.amend(second["holdId"], ("TEE", 4), buyer="b-1")).status_code == 200
    card = Payment("pi_declined")
    for _ in range(2):  # the same event, as one that came both as update and as signal
        await telling.run_of(second["holdId"]).signal(HoldWorkflow.payment_failed, PaymentFailed(card, "evt_1"))
    await telling.post(second["holdId"], "extend", {"ttlSeconds": 60})
    sold = {"items": [{"sku": "TEE", "quantity": 2}], "reason": "picked"}
    await telling.http.post(
        f"/api/inventory/holds/{SHOP}/{second['holdId']}/commit", json=sold, headers={"X-Actor": "till-3"}
    )
    await telling.post(second["holdId"], "restock", {"reason": "unworn", "items": [{"sku": "TEE", "quantity": 1}]})
    await fetch(telling.engine, _AGE, {"hold": first["holdId"], "by": timedelta(days=9)})
    assert [moved async for moved in archive_holds(telling.engine, before=datetime.now(UTC) - timedelta(days=8))] == [1]
    await receiver.until(5)

    story = await delivered(telling, "order%2F1%20'%C3%A4'", 5)

    assert [each["hold"]["holdId"] for each in story["holds"]] == [first["holdId"], second["holdId"]]
    replaced, final = story["holds"]
    assert replaced["hold"]["archivedAt"] is not None
    assert {(each["what"], each["actor"], each["reason"]) for each in replaced["changes"]} >= {
        ("another hold was to take over its units", "admin", None),
        ("the hold was released", "admin", "replaced"),
        ("a release was requested", "holdfast", "replaced"),
    }
    assert [(each["what"], each["actor"], each["reason"], each["detail"]) for each in final["changes"]] == [
        ("the stock was held", "admin", None, None),
        ("a change was requested", "admin", None, None),
        ("the hold was changed", "admin", None, "items: 3 x TEE -> 4 x TEE; buyer: none -> b-1"),
        ("an attempt to pay was reported as failed", "stripe", None, "pi_declined"),
        ("an attempt to pay was reported as failed", "stripe", None, "pi_declined"),
        ("an extension was requested", "admin", None, "60 s"),
        ("a commit was requested", "till-3", "picked", None),
        ("the hold was committed in part", "till-3", "picked", None),
        ("units were returned", "admin", "unworn", "1 x TEE"),
    ]
    assert final["workflowUrl"].endswith(f"/workflows/hold:{SHOP}:{second['holdId']}")
    (payment,) = story["payments"]
    assert (payment["paymentIntentId"], payment["bought"], payment["failedAttempts"]) == ("pi_declined", False, 1)
    assert {each["eventId"] for each in story["deliveries"]} == set(receiver.ids)
    assert all(each["attempts"] == 1 and each["deliveredAt"] for each in story["deliveries"])


async def test_an_event_that_is_refused_says_so_and_is_not_sent_twice(telling: Stack, receiver: Receiver) -> None:
    receiver.answer = lambda _: 503
    await telling.made(reference="order-503")
    await receiver.until_attempted(2)

    async def is_retrying() -> bool:
        deliveries = (await story_of(telling, "order-503"))["deliveries"]
        return any(each["state"] == "retrying" and each["failure"] for each in deliveries)

    await until(is_retrying, "a delivery that is retried")
    (delivery,) = (await story_of(telling, "order-503"))["deliveries"]
    assert delivery["failure"] == "hold-events: answered 503"
    answer = await telling.http.post(f"{ORDERS}/{SHOP}/order-503/resend")
    assert (answer.status_code, answer.json()) == (200, {"resent": 0})


async def test_an_orders_events_are_sent_again_with_their_ids_by_the_admin(telling: Stack, receiver: Receiver) -> None:
    hold = await telling.made(reference="order-2")
    await telling.post(hold["holdId"], "commit")
    await receiver.until(2)
    first = await delivered(telling, "order-2", 2)
    assert [each["type"] for each in first["deliveries"]] == ["hold.created", "hold.committed"]
    async with client(telling.url, AUTHORITY_TOKEN) as checkout:
        refused(await checkout.post(f"{ORDERS}/{SHOP}/order-2/resend"), 403, "forbidden")

    answer = await telling.http.post(f"{ORDERS}/{SHOP}/order-2/resend")

    assert (answer.status_code, answer.json()) == (200, {"resent": 2})
    await receiver.until(4)
    assert receiver.ids[2:] == receiver.ids[:2]


async def test_a_late_payment_leads_back_to_its_order(telling: Stack) -> None:
    hold = await telling.made(reference="order-3")
    async with locked(telling):  # until both have come the first one does not end the hold
        for payment in ("pi_first", f"pi_{hold['holdId']}"):
            await telling.run_of(hold["holdId"]).signal(HoldWorkflow.payment_succeeded, Payment(payment))

    async def is_listed() -> bool:
        return bool((await story_of(telling, "order-3"))["latePayments"])

    await until(is_listed, "the late payment in the story")
    (case,) = (await story_of(telling, "order-3"))["latePayments"]
    assert case["isOpen"]
    assert case["paymentId"] in ("pi_first", f"pi_{hold['holdId']}")


async def test_what_somebody_sent_by_hand_does_not_keep_an_order_from_being_told(telling: Stack) -> None:
    hold = await telling.made(("TEE", 1), reference="by-hand")
    run = telling.run_of(hold["holdId"])
    for name, data in (("payment_succeeded", {"payment": "pi_1"}), ("cancelled", {"actor": 5, "reason": ["x"]})):
        await run.signal(name, data)
    (told,) = (await story_of(telling, "by-hand"))["holds"]
    assert {each["what"] for each in told["changes"]} >= {"the stock was held", "cancelled"}


async def test_an_unknown_order_is_no_order(telling: Stack) -> None:
    for answer in (
        await telling.http.get(f"{ORDERS}/{SHOP}/nobody"),
        await telling.http.post(f"{ORDERS}/{SHOP}/nobody/resend"),
    ):
        refused(answer, 404, "order_not_found")
