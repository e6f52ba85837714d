import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from dev.simulator.config import Endpoint
from tests.simulated import SECRET, Inbox, Simulated, simulated
from tests.simulator.shop import opened, paid
from tests.waiting import until

CARD = ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded", "checkout.session.completed"]


async def test_an_event_is_a_signed_snapshot_with_its_version(sim: Simulated, box: Inbox) -> None:
    session = await sim.stripe.v1.checkout.sessions.retrieve_async((await opened(sim)).id)
    await sim.stripe.v1.checkout.sessions.expire_async(session.id, {}, {"idempotency_key": "close-1"})
    await box.wait_for("checkout.session.expired")
    (event,) = box.events
    assert (event["object"], event["api_version"], event["livemode"]) == ("event", "2026-10-28.endive", False)
    assert event["request"]["idempotency_key"] == "close-1"
    assert event["request"]["id"].startswith("req_")
    assert event["pending_webhooks"] == 1
    kept = await sim.stripe.v1.events.retrieve_async(event["id"])
    await until(lambda: sim.account.webhooks.pending(event["id"]) == 0, "delivered")
    assert kept.to_dict()["data"] == event["data"]


async def test_what_a_shopper_does_names_no_request(sim: Simulated, box: Inbox) -> None:
    await paid(sim, await opened(sim))
    await box.wait_for("checkout.session.completed")
    assert all(event["request"] == {"id": None, "idempotency_key": None} for event in box.events)


async def test_a_webhook_comes_again_until_it_is_taken_signed_anew(
    sim: Simulated, box: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.refusals = 3
    session = await opened(sim)
    now = 1_800_000_000
    monkeypatch.setattr("dev.simulator.signing.time", SimpleNamespace(time=lambda: now + len(box.signatures)))
    monkeypatch.setattr("stripe._webhook.time", SimpleNamespace(time=lambda: now))
    await sim.stripe.v1.checkout.sessions.expire_async(session.id)
    await box.wait_for("checkout.session.expired")
    assert len(box.signatures) == len(set(box.signatures)) == 4
    deliveries = await sim.control("/webhooks", "GET")
    assert deliveries[-1]["answers"] == [500, 500, 500, 200]
    assert deliveries[-1]["state"] == "delivered"


async def test_a_shop_out_of_reach_gets_its_webhook_later(box: Inbox) -> None:
    async with simulated(Endpoint("http://127.0.0.1:9/hook", (SECRET,))) as sim:
        session = await opened(sim)
        await sim.stripe.v1.checkout.sessions.expire_async(session.id)
        await until(lambda: len(sim.account.webhooks.deliveries[0].answers) > 1, "tried twice")
        await sim.control("/webhooks/endpoints", "PUT", endpoints=[{"url": box.url, "secrets": [SECRET]}])
        await box.wait_for("checkout.session.expired")


async def test_attempts_can_be_limited(box: Inbox) -> None:
    box.refusals = 100
    async with simulated(Endpoint(box.url, (SECRET,)), attempts=2) as sim:
        session = await opened(sim)
        await sim.stripe.v1.checkout.sessions.expire_async(session.id)
        await until(lambda: sim.account.webhooks.deliveries[0].state == "given up", "given up")
        assert len(box.signatures) == 2
        box.refusals = 0
        await sim.control("/webhooks/resend", event=sim.account.webhooks.deliveries[0].event.id)
        await box.wait_for("checkout.session.expired")


async def test_two_secrets_sign_side_by_side_during_a_rotation(box: Inbox) -> None:
    async with simulated(Endpoint(box.url, ("whsec_new", SECRET))) as sim:
        session = await opened(sim)
        await sim.stripe.v1.checkout.sessions.expire_async(session.id)
        await box.wait_for("checkout.session.expired")
        assert box.signatures[0].count("v1=") == 2
        box.secret = "whsec_new"
        await sim.control("/webhooks/endpoints", "PUT", endpoints=[{"url": box.url, "secrets": ["whsec_new"]}])
        await paid(sim, await opened(sim))
        await box.wait_for("checkout.session.completed")
        assert box.signatures[-1].count("v1=") == 1


async def test_every_endpoint_gets_every_event(box: Inbox) -> None:
    async with simulated(Endpoint(box.url, (SECRET,)), Endpoint(f"{box.url}?second", (SECRET,))) as sim:
        await paid(sim, await opened(sim))
        await until(lambda: len(box.events) == 8, "eight")
        assert sorted(box.types) == sorted(CARD * 2)


async def test_a_duplicate_comes_twice_with_the_same_id(sim: Simulated, box: Inbox) -> None:
    await sim.control("/faults", on="webhook", effect="duplicate", match="checkout.session.*", copies=2)
    await paid(sim, await opened(sim))
    await until(lambda: box.types.count("checkout.session.completed") == 3, "three")
    assert len({event["id"] for event in box.events}) == 4


async def test_a_dropped_webhook_never_comes_but_can_be_read(sim: Simulated, box: Inbox) -> None:
    await sim.control("/faults", on="webhook", effect="drop", match="checkout.session.completed")
    session = await opened(sim)
    await paid(sim, session)
    await box.wait_for("payment_intent.succeeded")
    await asyncio.sleep(0.1)
    assert "checkout.session.completed" not in box.types
    listed = await sim.stripe.v1.events.list_async({"delivery_success": False})
    assert [event.type for event in listed.data] == ["checkout.session.completed"]
    assert (await sim.stripe.v1.checkout.sessions.retrieve_async(session.id)).status == "complete"


async def test_a_held_webhook_comes_when_it_is_released(sim: Simulated, box: Inbox) -> None:
    session = await opened(sim)
    await sim.control("/faults", on="webhook", effect="hold", about=session.id, times=None)
    await paid(sim, session)
    other = await opened(sim)
    await paid(sim, other)
    await box.wait_for("checkout.session.completed")
    assert [event["data"]["object"]["id"] for event in box.events if event["type"] == CARD[-1]] == [other.id]
    deliveries = await sim.control("/webhooks", "GET")
    last = next(each for each in deliveries if each["about"] == session.id and each["type"] == CARD[-1])
    assert last["state"] == "held"
    assert await sim.control("/webhooks/release", event=last["event"]) == {"released": 1}
    await until(lambda: box.events[-1]["id"] == last["event"], "released")
    assert await sim.control("/webhooks/release") == {"released": 3}
    await until(lambda: len(box.events) == 8, "all")


async def test_reordered_webhooks_come_after_what_happened_later(sim: Simulated, box: Inbox) -> None:
    await sim.control("/faults", on="webhook", effect="reorder", match="payment_intent.succeeded", seconds=30)
    await paid(sim, await opened(sim))
    await until(lambda: len(box.events) == 4, "four")
    assert box.types == [CARD[0], CARD[1], CARD[3], CARD[2]]


async def test_a_delayed_webhook_lets_others_pass(sim: Simulated, box: Inbox) -> None:
    await sim.control("/faults", on="webhook", effect="delay", match="payment_intent.created", seconds=0.2, up_to=0.3)
    await paid(sim, await opened(sim))
    await until(lambda: len(box.events) == 4, "four")
    assert box.types == [*CARD[1:], CARD[0]]


async def test_chance_is_seeded(box: Inbox) -> None:
    async def dropped(seed: int) -> list[bool]:
        async with simulated(Endpoint(box.url, (SECRET,)), seed=seed) as sim:
            await sim.control("/faults", on="webhook", effect="drop", share=0.5, times=None)
            for _ in range(10):
                await paid(sim, await opened(sim))
            deliveries: list[dict[str, Any]] = await sim.control("/webhooks", "GET")
            return [each["state"] == "dropped" for each in deliveries]

    first, again, other = await dropped(1), await dropped(1), await dropped(2)
    assert first == again != other
    assert 10 <= sum(first) <= 30
