"""Many requests for one hold, on a Temporal server that takes few updates of each, as one that cannot be configured."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from temporalio.api.enums.v1 import EventType

from core.temporal import connect
from dev.postgres import EmbeddedPostgres
from dev.temporal import EmbeddedTemporal
from domain.payments import Payment
from tests.api.asking import fresh, refused
from tests.paying import Shop, event, named, running_shop
from tests.payments.endings import fault, fired
from tests.payments.own_payments import attach, session_status
from tests.servers import database_on
from tests.waiting import until
from workflows.hold import HoldWorkflow
from workflows.payment_messages import PaymentFailed, PaymentProcessing

AT_ONCE, IN_ALL = 4, 40
"""How many updates of one run that server takes. By default it is 10 and 2,000."""


@pytest.fixture(scope="module")
def strict_temporal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedTemporal]:
    """A server with low limits."""
    limits = {"history.maxInFlightUpdates": AT_ONCE, "history.maxTotalUpdates": IN_ALL}
    flags = [f"--dynamic-config-value={name}={value}" for name, value in limits.items()]
    server = EmbeddedTemporal(tmp_path_factory.mktemp("strict-temporal"), ui=False, flags=flags)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
async def strict(
    postgres: EmbeddedPostgres, migrated_template: str, strict_temporal: EmbeddedTemporal
) -> AsyncIterator[Shop]:
    """A shop on that server, whose holds can be extended for a long time."""
    with pytest.MonkeyPatch.context() as patch, database_on(postgres, migrated_template) as database:
        patch.setenv("TEMPORAL_ADDRESS", strict_temporal.address)
        async with running_shop(database, await connect(None), INVENTORY_HOLD_MAX_TTL_SECONDS="86400") as running:
            yield running


@pytest.fixture
async def crowded(strict: Shop) -> Shop:
    """The same with ten of an item that no other test asks for."""
    return await strict.corner()


async def accepted(shop: Shop, hold_id: str, count: int) -> bool:
    """Tell whether the hold's run has accepted so many updates, after the one that reserved."""
    events = [event.event_type async for event in shop.stack.run_of(hold_id).fetch_history_events()]
    return events.count(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED) > count


async def signalled(shop: Shop, hold_id: str, name: str) -> bool:
    """Tell whether the hold's run got this signal."""
    events = shop.stack.run_of(hold_id).fetch_history_events()
    return name in [event.workflow_execution_signaled_event_attributes.signal_name async for event in events]


async def extended(shop: Shop, hold_id: str, key: str | None = None) -> httpx.Response:
    return await shop.stack.post(hold_id, "extend", {"ttlSeconds": 30}, key=key)


def deadline(hold: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(hold["expiresAt"])


async def test_a_commit_sells_while_more_wait_for_stripe_than_a_run_takes_updates(crowded: Shop) -> None:
    hold_id = (await crowded.checkout())["holdId"]
    hanging = await fault(crowded, "api", "delay", "checkout.sessions.expire", times=None, seconds=600)
    waiting = [asyncio.create_task(crowded.stack.post(hold_id, "release")) for _ in range(AT_ONCE * 3)]
    await fired(crowded, hanging)
    waiting += [
        asyncio.create_task(attach(crowded, hold_id, f"pi_{number}"))
        for number in range(AT_ONCE - 1)  # the releases share one
    ]
    await until(lambda: accepted(crowded, hold_id, AT_ONCE), "the run has as many updates as it takes")

    unpaid = await crowded.stack.post(hold_id, "commit")  # a signal is not refused: the page is looked at first
    refused(unpaid, 409, "payment_not_made")
    sold = await crowded.stack.post(hold_id, "commit", {"paidElsewhere": True})

    assert (sold.status_code, sold.json()["status"]) == (200, "committed")
    for answer in await asyncio.gather(*waiting):
        assert refused(answer, 409, "hold_not_active")["status"] == "committed"
    assert await crowded.stock() == (9, 0)


async def test_a_checkout_repeated_without_end_answers_its_page_and_is_sold(crowded: Shop) -> None:
    key = fresh()
    first = await crowded.ask_for_checkout(key=key)
    for _ in range(IN_ALL + 5):
        again = await crowded.ask_for_checkout(key=key)
        assert (again.status_code, again.json()["url"]) == (200, first.json()["url"])
    elsewhere = {"paidElsewhere": True}
    assert (await crowded.stack.post(first.json()["holdId"], "commit", elsewhere)).status_code == 200


async def test_a_hold_is_extended_more_often_than_a_run_takes_updates(crowded: Shop) -> None:
    made = await crowded.checkout()
    hold_id = made["holdId"]
    run = (await crowded.stack.run_of(hold_id).describe()).run_id
    before = await crowded.stack.read(hold_id)
    first_key = fresh()
    first = await extended(crowded, hold_id, first_key)
    for _ in range(IN_ALL * 2):
        answer = await extended(crowded, hold_id, fresh())
        assert answer.status_code == 200, answer.text
    assert deadline(answer.json()) == deadline(before) + timedelta(seconds=30 * (IN_ALL * 2 + 1))
    assert (await crowded.stack.run_of(hold_id).describe()).run_id != run
    repeated = await extended(crowded, hold_id, first_key)
    assert deadline(repeated.json()) == deadline(first.json())
    refused(await crowded.stack.post(hold_id, "extend", {"ttlSeconds": 60}, key=first_key), 409, "idempotency_conflict")

    released = await crowded.stack.post(hold_id, "release")
    assert (released.status_code, released.json()["status"]) == (200, "released")
    assert await crowded.stock() == (10, 0)
    assert await session_status(crowded, made["checkoutSessionId"]) == "expired"


async def test_a_hold_that_takes_no_more_updates_is_still_sold(crowded: Shop) -> None:
    hold_id = (await crowded.stack.made((crowded.item, 1)))["holdId"]
    run = crowded.stack.run_of(hold_id)
    await run.signal(HoldWorkflow.payment_processing, PaymentProcessing(Payment(f"pi_{hold_id}"), 600))
    for _ in range(IN_ALL - 1):  # while a payment is under way no other run continues this one
        assert (await extended(crowded, hold_id)).status_code == 200
    refused(await extended(crowded, hold_id), 429, "inventory_busy")
    sold = await crowded.stack.post(hold_id, "commit")
    assert (sold.status_code, sold.json()["status"]) == (200, "committed")


async def test_a_hold_that_takes_no_more_updates_is_still_told_of_its_payment(crowded: Shop) -> None:
    hold_id = (await crowded.stack.made((crowded.item, 1)))["holdId"]
    run = crowded.stack.run_of(hold_id)
    await run.signal(HoldWorkflow.payment_processing, PaymentProcessing(Payment(f"pi_{hold_id}"), 600))
    for _ in range(IN_ALL - 1):
        assert (await extended(crowded, hold_id)).status_code == 200
    refused(await extended(crowded, hold_id), 429, "inventory_busy")
    paid = event("payment_intent.succeeded", {"id": f"pi_{hold_id}", "metadata": named(hold_id)})
    assert (await crowded.send(paid)).status_code == 200
    await crowded.until_status(hold_id, "committed")
    assert await signalled(crowded, hold_id, "payment_succeeded")


async def test_a_hold_that_takes_no_more_updates_is_still_released(crowded: Shop) -> None:
    hold_id = (await crowded.stack.made((crowded.item, 1)))["holdId"]
    run, payment = crowded.stack.run_of(hold_id), Payment(f"pi_{hold_id}")
    await run.signal(HoldWorkflow.payment_processing, PaymentProcessing(payment, 600))
    for _ in range(IN_ALL - 1):
        assert (await extended(crowded, hold_id)).status_code == 200
    refused(await extended(crowded, hold_id), 429, "inventory_busy")

    released = asyncio.create_task(crowded.stack.post(hold_id, "release"))
    await until(lambda: signalled(crowded, hold_id, "cancel"), "the release is in the history as a signal")
    await run.signal(HoldWorkflow.payment_failed, PaymentFailed(payment, "evt_1"))  # until then the hold is kept

    answer = await released
    assert (answer.status_code, answer.json()["status"]) == (200, "released")
    assert await crowded.stock() == (10, 0)


async def test_a_checkout_repeated_after_its_run_was_lost_answers_at_once(crowded: Shop) -> None:
    key = fresh()
    made = (await crowded.ask_for_checkout(key=key)).json()
    await crowded.stack.run_of(made["holdId"]).terminate("by hand")
    extension = await extended(crowded, made["holdId"])  # it brings a new run, which opens no page
    assert extension.status_code == 200
    answers = await asyncio.gather(*(crowded.ask_for_checkout(key=key) for _ in range(AT_ONCE * 2)))
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["checkoutSessionId"] for answer in answers} == {made["checkoutSessionId"]}
