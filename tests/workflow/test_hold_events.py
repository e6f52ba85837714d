"""Every change of a hold reaches its receiver in order and at least once, and delays no hold."""

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from activities.outbox_relay import OutboxRelay
from core.database import DatabaseUnavailableError, fetch
from core.signals import start_signal
from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import end, put_item, request
from domain.holds import HoldStatus
from domain.payments import Payment
from holds.event_delivery import background_task_queue
from inventory.outbox import claim_batch, record_expiring, record_hold_event
from inventory.reserve import reserve
from tests.receivers import NEXT_SECRET, SECRET, Receiver, receiving
from tests.stack import SHOP, Stack
from tests.waiting import until
from tests.workflow.conftest import telling_stack
from tests.workflow.sending import held
from workflows.deliveries import Event, HoldEvents, hold_events_workflow_id
from workflows.hold import HoldWorkflow
from workflows.hold_events import HoldEventsWorkflow
from workflows.messages import Extend, Extended
from workflows.payment_messages import PaymentProcessing

pytestmark = pytest.mark.usefixtures("prompt_relay")


def relay_of(stack: Stack) -> OutboxRelay:
    queue = background_task_queue(stack.task_queue)
    return OutboxRelay(stack.engine, stack.temporal, stack.settings, stack.telemetry, task_queue=queue)


class DiedError(Exception):
    """Simulates the end of the process."""


async def relay_and_die(stack: Stack) -> None:
    """Relay the entries of the outbox, and die before they are deleted."""
    async with claim_batch(stack.engine, with_holds=True) as taken:
        for entry in taken.entries:
            await relay_of(stack)._relay([entry])
            taken.done.append(entry.id)
        raise DiedError


@pytest.mark.parametrize(("verb", "last"), [("commit", "hold.committed"), ("release", "hold.released")])
async def test_a_holds_events_arrive_in_the_order_in_which_they_happened(
    telling: Stack, receiver: Receiver, verb: str, last: str
) -> None:
    hold = await telling.made(("TEE", 2), reference="order-1", metadata={"cart": "c-7"})
    ended = (await telling.post(hold["holdId"], verb)).json()
    await receiver.until(2)

    assert receiver.of(hold["holdId"]) == ["hold.created", last]
    created, finished = (event["data"] for event in receiver.taken)
    assert created == {
        "shopId": SHOP,
        "holdId": hold["holdId"],
        "status": "active",
        "reason": None,
        "reference": "order-1",
        "paymentIntentId": None,
        "metadata": {"cart": "c-7"},
        "createdAt": hold["createdAt"],
        "expiresAt": hold["expiresAt"],
        "items": [{"sku": "TEE", "variantKey": "", "quantity": 2, "sold": 0, "givenBack": 0}],
    }
    assert finished["status"] == ended["status"]
    assert finished[f"{ended['status']}At"] == ended[f"{ended['status']}At"]


async def test_a_change_tells_what_was_and_what_is_and_an_exchange_is_two_events(
    telling: Stack, receiver: Receiver
) -> None:
    hold = await telling.made(("TEE", 2), reference="order-1")
    await telling.amend(hold["holdId"], ("TEE", 3), buyer="b-1")
    await telling.amend(hold["holdId"], ("TEE", 3))  # which changes nothing
    new = await telling.made(("TEE", 4), reference="order-1", replace=True)
    await receiver.until(4)

    assert receiver.of(hold["holdId"]) == ["hold.created", "hold.amended", "hold.released"]
    assert receiver.of(new["holdId"]) == ["hold.created"]
    created, amended, released = (
        event["data"] for event in receiver.taken if event["data"]["holdId"] == hold["holdId"]
    )
    was = {"reference": "order-1", "buyer": None, "expiresAt": hold["expiresAt"]}
    assert amended["before"] == {**was, "items": [{"sku": "TEE", "variantKey": "", "quantity": 2}]}
    assert amended["after"] == {**was, "buyer": "b-1", "items": [{"sku": "TEE", "variantKey": "", "quantity": 3}]}
    assert [each["items"][0]["quantity"] for each in (created, amended, released)] == [2, 3, 3]
    assert (amended["buyer"], released["reason"]) == ("b-1", "replaced")


async def test_an_expiry_is_delivered(telling: Stack, receiver: Receiver) -> None:
    (hold,) = await held(telling, 1, ttl_seconds=1)
    await receiver.until(2)

    assert receiver.of(hold.hold_id) == ["hold.created", "hold.expired"]
    assert receiver.taken[-1]["data"]["reason"] == "deadline"


async def test_a_partial_commit_tells_what_was_sold_and_what_was_given_back(telling: Stack, receiver: Receiver) -> None:
    hold = await telling.made(("TEE", 3))
    await telling.post(hold["holdId"], "commit", {"items": [{"sku": "TEE", "quantity": 2}]})
    await receiver.until(2)

    told = receiver.taken[-1]["data"]["items"]
    assert told == [{"sku": "TEE", "variantKey": "", "quantity": 3, "sold": 2, "givenBack": 1}]


async def test_a_hold_that_asked_for_it_is_warned_of_once_before_its_deadline(
    telling: Stack, receiver: Receiver
) -> None:
    (silent,) = await held(telling, 1, ttl_seconds=600)
    (hold,) = await held(telling, 1, ttl_seconds=600, warn_before_seconds=599)
    await receiver.until(3)
    assert receiver.of(hold.hold_id) == ["hold.created", "hold.expiring"]
    assert receiver.taken[-1]["data"]["status"] == "active"

    await hold.handle.execute_update("extend", Extend(600, "more"), result_type=Extended)
    await telling.post(hold.hold_id, "commit")
    await receiver.until(4)
    assert receiver.of(hold.hold_id) == ["hold.created", "hold.expiring", "hold.committed"]
    assert len(await timers_of(telling, silent.hold_id)) == 1


async def test_a_message_that_changes_nothing_keeps_the_timer_of_the_warning(telling: Stack) -> None:
    (hold,) = await held(telling, 1, ttl_seconds=600, warn_before_seconds=500)
    for _ in range(3):
        await hold.handle.signal(HoldWorkflow.payment_processing, PaymentProcessing(Payment("pi_1"), grace_seconds=1))
        await hold.handle.query(HoldWorkflow.snapshot)  # so that the next one comes in a task of its own

    assert len(await timers_of(telling, hold.hold_id)) == 1


async def test_a_warning_moves_with_the_deadline(telling: Stack) -> None:
    (hold,) = await held(telling, 1, ttl_seconds=600, warn_before_seconds=500)
    await hold.handle.execute_update("extend", Extend(3000, "more"), result_type=Extended)

    async def has_moved() -> bool:
        return len(await timers_of(telling, hold.hold_id)) > 1

    await until(has_moved, "the timer of the new deadline")
    first, moved = await timers_of(telling, hold.hold_id)
    assert first <= timedelta(seconds=100)
    assert timedelta(seconds=2600) < moved <= timedelta(seconds=3100)


async def test_a_warning_that_is_noted_again_has_the_same_id_and_an_ended_hold_has_none(
    database: str, temporal: Client, receiver: Receiver
) -> None:
    """A worker that is killed after the statement notes it again."""
    async with telling_stack(database, temporal, receiver, with_worker=False) as stack:
        await put_item(stack.engine, "mug", 1)
        await reserve(stack.engine, request("h1", ("mug", 1)))
        for _ in range(2):
            await record_expiring(stack.engine, SHOP, "h1")
        await end(stack.engine, "h1", HoldStatus.RELEASED)
        await record_expiring(stack.engine, SHOP, "h1")
        async with claim_batch(stack.engine, with_holds=True) as batch:
            ids = [entry.event_id for entry in batch.entries if entry.type == "hold.expiring"]
    assert (len(ids), len(set(ids))) == (2, 1)


async def timers_of(stack: Stack, hold_id: str) -> list[timedelta]:
    """Return the durations of the timers that the hold's run started."""
    history = await stack.run_of(hold_id).fetch_history()
    return [
        event.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta()
        for event in history.events
        if event.HasField("timer_started_event_attributes")
    ]


async def test_an_unavailable_receiver_delays_no_hold_and_gets_all_events_later(
    telling: Stack, receiver: Receiver
) -> None:
    receiver.answer = lambda _: 503
    holds = [await telling.made() for _ in range(3)]
    for hold in holds:
        assert (await telling.post(hold["holdId"], "commit")).json()["status"] == "committed"
    await receiver.until_attempted(3)
    assert receiver.taken == []

    receiver.answer = lambda _: 200
    await receiver.until(6)

    for hold in holds:
        assert receiver.of(hold["holdId"]) == ["hold.created", "hold.committed"]
    await assert_stock_adds_up(telling.engine)
    assert telling.counted("inventory_event_error", receiver="hold-events") >= 3


async def test_an_event_under_way_is_delivered_though_its_workflow_is_cancelled_in_temporal(
    telling: Stack, receiver: Receiver
) -> None:
    receiver.answer = lambda _: 503
    hold = await telling.made()
    await receiver.until_attempted(1)
    await telling.temporal.get_workflow_handle(hold_events_workflow_id(SHOP, hold["holdId"])).cancel()
    await telling.post(hold["holdId"], "commit")

    receiver.answer = lambda _: 200
    await receiver.until(2)

    assert receiver.of(hold["holdId"]) == ["hold.created", "hold.committed"]


async def test_a_refused_event_does_not_delay_other_holds(telling: Stack, receiver: Receiver) -> None:
    refused = await telling.made()
    receiver.answer = lambda event: 400 if event["data"]["holdId"] == refused["holdId"] else 200
    other = await telling.made()
    await telling.post(refused["holdId"], "release")
    await telling.post(other["holdId"], "release")
    await until(
        lambda: receiver.of(other["holdId"]) == ["hold.created", "hold.released"], "the other hold's events have come"
    )
    assert "hold.released" not in receiver.of(refused["holdId"])


async def test_during_a_rotation_both_secrets_verify(database: str, temporal: Client, receiver: Receiver) -> None:
    async with telling_stack(database, temporal, receiver, secret=f"{NEXT_SECRET},{SECRET}") as stack:
        await stack.put(10)
        await stack.made()
        await receiver.until(1)
        receiver.secret = NEXT_SECRET
        await stack.made()
        await receiver.until(2)


async def test_an_event_that_is_delivered_again_after_a_crash_has_the_same_id(
    database: str, temporal: Client, receiver: Receiver
) -> None:
    async with telling_stack(database, temporal, receiver, with_worker=False) as stack, stack.worker():
        await stack.put(10)
        hold = await stack.made()
        with pytest.raises(DiedError):
            await relay_and_die(stack)
        async with stack.background_worker():
            await receiver.until(1)
            await stack.post(hold["holdId"], "commit")
            await until(lambda: receiver.of(hold["holdId"])[-1] == "hold.committed", "hold.committed has come")
    told = dict.fromkeys(zip(receiver.ids, receiver.types, strict=True))
    assert [type_ for _, type_ in told] == ["hold.created", "hold.committed"]


async def test_events_stay_in_the_outbox_while_no_relay_runs(
    database: str, temporal: Client, receiver: Receiver
) -> None:
    async with telling_stack(database, temporal, receiver, with_worker=False) as stack, stack.worker():
        await stack.put(10)
        hold = await stack.made()
        await stack.run_of(hold["holdId"]).terminate()  # whatever becomes of the workflow
        await end(stack.engine, hold["holdId"], HoldStatus.RELEASED)
        async with stack.background_worker():
            await receiver.until(2)
    assert receiver.of(hold["holdId"]) == ["hold.created", "hold.released"]


async def test_two_relays_never_swap_the_events_of_a_hold(telling: Stack, receiver: Receiver) -> None:
    async def one() -> str:
        hold_id: str = (await telling.made())["holdId"]
        await telling.post(hold_id, "release")
        return hold_id

    async def relay() -> None:
        while len(receiver.taken) < 16:
            await relay_of(telling).relay_batch()

    relays = [asyncio.create_task(relay()) for _ in range(3)]
    holds = await asyncio.gather(*(one() for _ in range(8)))
    await asyncio.gather(*relays)
    for hold_id in holds:
        assert receiver.of(hold_id) == ["hold.created", "hold.released"]


async def test_without_a_receiver_the_outbox_stays_empty(stack: Stack) -> None:
    await stack.post((await stack.made())["holdId"], "commit")

    assert await fetch(stack.engine, 'SELECT FROM "InventoryOutbox"', {}) == []


async def test_a_late_payment_is_delivered_after_earlier_events(telling: Stack, receiver: Receiver) -> None:
    hold = await telling.made()
    await telling.post(hold["holdId"], "release")
    event_id = str(uuid.uuid4())
    for _ in range(2):
        await record_hold_event(
            telling.engine,
            event_id=event_id,
            event_type="hold.late_payment",
            shop_id=SHOP,
            hold_id=hold["holdId"],
            more={"outcome": "refunded", "paymentIntentId": "pi_late"},
        )
    await until(lambda: "hold.late_payment" in receiver.types, "hold.late_payment has come")

    assert receiver.of(hold["holdId"])[:3] == ["hold.created", "hold.released", "hold.late_payment"]
    late = receiver.taken[-1]["data"]
    assert (late["status"], late["outcome"], late["paymentIntentId"]) == ("released", "refunded", "pi_late")
    assert len(set(receiver.ids)) == 3


async def test_an_event_is_given_up_after_three_days_and_the_next_one_is_delivered(
    database: str, temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.hold_events.ATTEMPT_TIMEOUT", timedelta(seconds=5))  # which the last attempt waits
    async with receiving() as receiver, telling_stack(database, temporal, receiver) as stack:
        await stack.put(10)
        hold = await stack.made()
        await receiver.until(1)
        old = _event(hold, timedelta(days=3))
        receiver.answer = lambda event: 500 if event["type"] == "hold.released" else 200
        handle = await temporal.start_workflow(
            HoldEventsWorkflow.run,
            HoldEvents(SHOP, "old"),
            id=hold_events_workflow_id(SHOP, f"old-{uuid.uuid4().hex}"),
            task_queue=background_task_queue(stack.task_queue),
            **start_signal(HoldEventsWorkflow.happened, old),
        )
        await handle.signal(HoldEventsWorkflow.happened, replace(old, id="evt-2", type="hold.committed"))

        assert await handle.result() == 2
        assert receiver.types[1:] == ["hold.committed"]
        assert stack.counted("inventory_event_lost") == 1


def _event(hold: dict[str, Any], age: timedelta) -> Event:
    return Event("evt-1", "hold.released", datetime.now(UTC) - age, {"holdId": hold["holdId"]})


async def test_while_temporal_cannot_be_reached_events_stay_in_the_outbox(
    database: str, temporal: Client, receiver: Receiver
) -> None:
    async with telling_stack(database, temporal, receiver, with_worker=False) as stack, stack.worker():
        await stack.put(10)
        hold = await stack.made()
        away = await Client.connect("127.0.0.1:1", lazy=True)
        relay = OutboxRelay(stack.engine, away, stack.settings, stack.telemetry, task_queue="nobodys")
        with pytest.raises((RPCError, RuntimeError)):
            await relay.relay_batch()
        assert len(await fetch(stack.engine, 'SELECT FROM "InventoryOutbox"', {})) == 1
        async with stack.background_worker():
            await receiver.until(1)
    assert receiver.of(hold["holdId"]) == ["hold.created"]


async def test_the_relay_retries_after_postgres_failed(telling: Stack, receiver: Receiver) -> None:
    hold = await telling.made()
    await receiver.until(1)
    await fetch(telling.engine, 'ALTER TABLE "InventoryOutbox" RENAME TO "Elsewhere"', {})
    with pytest.raises(DatabaseUnavailableError):
        await relay_of(telling).relay_batch()
    await fetch(telling.engine, 'ALTER TABLE "Elsewhere" RENAME TO "InventoryOutbox"', {})
    await telling.post(hold["holdId"], "commit")
    await receiver.until(2)
