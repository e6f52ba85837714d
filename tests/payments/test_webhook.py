"""POST /api/webhooks/stripe: whom it believes, what it makes of what it gets, and when it says that it has it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from dev.harness.invariants import assert_stock_adds_up
from dev.postgres import EmbeddedPostgres
from inventory.moments import Moment, read_moments
from payments.events import HANDLED_EVENT_TYPES
from tests.api.asking import neighbour
from tests.e2e.wire import wire_to
from tests.examples import examples
from tests.paying import Shop, event, named, running_shop, signed
from tests.servers import database_on
from tests.simulated import SECRET
from tests.stack import SHOP

NEXT_SECRET = "whsec_next"
LONG = "x" * 10_000


@pytest.fixture(scope="module")
async def running(postgres: EmbeddedPostgres, migrated_template: str, temporal: Client) -> AsyncIterator[Shop]:
    """One shop for all tests that leave Postgres and Temporal alone; its webhook secret is being replaced."""
    secrets = f"{NEXT_SECRET},{SECRET}"
    with database_on(postgres, migrated_template) as database:
        async with running_shop(database, temporal, STRIPE_WEBHOOK_SECRET=secrets) as shop:
            yield shop


@pytest.fixture
async def shop(running: Shop) -> Shop:
    return await running.corner()


async def held(shop: Shop) -> str:
    """Make a hold of one unit, and return its id."""
    hold_id: str = (await shop.stack.made((shop.item, 1)))["holdId"]
    return hold_id


def paid(hold_id: str, **fields: Any) -> dict[str, Any]:
    """Return Stripe's word that a hold's PaymentIntent was paid."""
    return event("payment_intent.succeeded", {"id": f"pi_{hold_id}", "metadata": named(hold_id), **fields})


def result(answer: httpx.Response) -> str:
    """Return what was done about an event that was taken in."""
    assert answer.status_code == 200, answer.text
    done: str = answer.json()["result"]
    return done


def counted(shop: Shop, done: str, kind: str = "payment_intent.succeeded") -> float:
    return shop.stack.counted("inventory_stripe_event", type=kind, result=done)


SIGNATURES: dict[str, Callable[[bytes], str]] = {
    "none": lambda _: "",
    "of another body": lambda body: signed(body + b" "),
    "of the same JSON in another order": lambda body: signed(
        json.dumps(dict(reversed(json.loads(body).items()))).encode()
    ),
    "by another secret": lambda body: signed(body, "whsec_another"),
    "made 301 s ago": lambda body: signed(body, at=time.time() - 301),
    "made 310 s from now": lambda body: signed(body, at=time.time() + 310),
    "right, but longer than 4 KiB": lambda body: signed(body) + ",v1=00" * 1000,
    "by another scheme": lambda body: signed(body, scheme="v0"),
    "without a time": lambda body: signed(body).partition(",")[2],
    "with another time": lambda body: f"t={int(time.time()) + 1},{signed(body).partition(',')[2]}",
    "no hash": lambda body: signed(body).partition(",")[0] + ",v1=",
    "beyond ASCII": lambda body: signed(body).partition(",")[0] + ",v1=\xe9",
    "no number as its time": lambda body: "t=now," + signed(body).partition(",")[2],
    "a time beyond all calendars": lambda body: f"t={'9' * 4000}," + signed(body).partition(",")[2],
    "nothing but commas": lambda _: ",,,=,=",
}


LIKE_STRIPES = {"of another body", "of the same JSON in another order", "by another secret", "with another time"}
"""What may be from Stripe, but for the secret."""


@pytest.mark.parametrize("name", SIGNATURES)
async def test_nobody_is_believed_whose_signature_is_not_right(shop: Shop, name: str) -> None:
    hold_id = await held(shop)
    body = json.dumps(paid(hold_id)).encode()
    before = counted(shop, "invalid_signature", "other")
    like_stripes = shop.stack.counted("inventory_webhook_other_secret")

    answer = await shop.stripe.browser.post(
        f"{shop.stack.url}/api/webhooks/stripe",
        content=body,
        headers=[(b"Stripe-Signature", SIGNATURES[name](body).encode("latin-1"))],
    )

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_signature")
    assert (await shop.stack.read(hold_id))["status"] == "active"
    assert counted(shop, "invalid_signature", "other") == before + 1
    assert shop.stack.counted("inventory_webhook_other_secret") == like_stripes + (name in LIKE_STRIPES)


async def test_a_token_does_not_stand_in_for_a_signature(shop: Shop) -> None:
    answer = await shop.stack.http.post("/api/webhooks/stripe", json=paid(await held(shop)))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_signature")


@pytest.mark.parametrize(
    "sign",
    [
        lambda body: signed(body, SECRET),
        lambda body: signed(body, NEXT_SECRET),
        lambda body: signed(body, SECRET, NEXT_SECRET),
        lambda body: signed(body, "whsec_gone", NEXT_SECRET),
        lambda body: signed(body, at=time.time() - 295),
        lambda body: signed(body, at=time.time() + 290),
        lambda body: signed(body) + ",v0=00",
    ],
    ids=["old secret", "new secret", "both", "a third one", "295 s ago", "a clock ahead", "two schemes"],
)
async def test_a_signature_by_any_secret_that_is_set_is_believed(shop: Shop, sign: Callable[[bytes], str]) -> None:
    hold_id = await held(shop)
    body = json.dumps(paid(hold_id), indent=2).encode()

    assert result(await shop.send(body, sign(body))) == "told"

    await shop.until_status(hold_id, "committed")


async def test_stripe_can_replace_the_secret_without_losing_an_event(shop: Shop) -> None:
    hooks = f"{shop.stack.url}/api/webhooks/stripe"
    for secrets in ([SECRET], [SECRET, NEXT_SECRET], [NEXT_SECRET]):
        await shop.stripe.control("/webhooks/endpoints", "PUT", endpoints=[{"url": hooks, "secrets": secrets}])
        made = await shop.checkout()
        await shop.pay(made["checkoutSessionId"])
        await shop.until_status(made["holdId"], "committed")
    await shop.stripe.control("/webhooks/endpoints", "PUT", endpoints=[{"url": hooks, "secrets": [SECRET]}])


NO_EVENTS: dict[str, bytes] = {
    "nothing": b"",
    "half of it": b'{"id": "evt_1", ',
    "no text": b"\xff\xfe",
    "a list": b"[]",
    "a word": b'"event"',
    "null": b"null",
    "no id": b'{"type": "payment_intent.succeeded"}',
    "no type": b'{"id": "evt_1", "type": null}',
    "a number as its id": b'{"id": 1, "type": "payment_intent.succeeded"}',
    "a number beyond all bounds": b'{"id": "evt_1", "type": "x", "n": ' + b"9" * 5000 + b"}",
    "no id at all": b'{"id": "", "type": "payment_intent.succeeded"}',
    "an id with a NUL": b'{"id": "evt_\\u0000", "type": "payment_intent.succeeded"}',
    "an id that is no text": b'{"id": "evt_\\ud800", "type": "payment_intent.succeeded"}',
    "an id as long as a book": b'{"id": "' + LONG.encode() + b'", "type": "payment_intent.succeeded"}',
    "too deep": b"[" * 100_000 + b"]" * 100_000,
}


@pytest.mark.parametrize("body", NO_EVENTS.values(), ids=NO_EVENTS)
async def test_what_is_signed_and_no_event_is_refused(shop: Shop, body: bytes) -> None:
    answer = await shop.send(body)
    assert answer.status_code == 400
    assert answer.json()["error"] in ("invalid_event", "invalid_signature")


STRANGE: dict[str, dict[str, Any]] = {
    "no data": {"id": "evt_1", "object": "event", "type": "payment_intent.succeeded"},
    "data is null": {"id": "evt_1", "object": "event", "type": "payment_intent.succeeded", "data": None},
    "the object is an id": {"id": "evt_1", "object": "event", "type": "charge.refunded", "data": {"object": "ch_1"}},
    "thin": {"id": "evt_1", "object": "v2.core.event", "type": "v2.core.account.updated", "related_object": {}},
    "an unknown type": event("customer.created", {"id": "cus_1"}),
    "a type as long as a book": event(LONG, {"id": "pi_1", "metadata": named("h-1")}),
    "a type with a NUL": event("payment_intent.\x00", {"id": "pi_1", "metadata": named("h-1")}),
}


@pytest.mark.parametrize("strange", STRANGE.values(), ids=STRANGE)
async def test_events_that_say_nothing_to_us_are_taken_in_and_ignored(shop: Shop, strange: dict[str, Any]) -> None:
    assert result(await shop.send(strange)) == "ignored"


FOREIGN: dict[str, dict[str, Any]] = {
    "no metadata": {"id": "pi_1"},
    "metadata are a list": {"id": "pi_1", "metadata": ["inventory_reservation_id"]},
    "another application's metadata": {"id": "pi_1", "metadata": {"order": "7"}},
    "no shop": {"id": "pi_1", "metadata": {"inventory_reservation_id": "h-1"}},
    "numbers as ids": {"id": 7, "metadata": {"inventory_reservation_id": 1, "shop_id": 2}},
    "a hold's id with a colon": {"id": "pi_1", "metadata": named("h:1")},
    "a shop's id with a colon": {"id": "pi_1", "metadata": named("h-1", "shop:1")},
    "a hold's id as long as a book": {"id": "pi_1", "metadata": named(LONG)},
    "a hold's id with a NUL": {"id": "pi_1", "metadata": named("h\x00")},
    "a hold's id that ends its line": {"id": "pi_1", "metadata": named("h-1\n")},
    "a payment's id with a NUL": {"id": "pi_\x00"},
    "a payment's id that is no text": {"id": "pi_\ud800"},
    "a payment's id as long as a book": {"id": LONG},
}


@pytest.mark.parametrize("of", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("kind", ["payment_intent.succeeded", "checkout.session.expired", "charge.refunded"])
async def test_a_payment_that_is_not_ours_is_taken_in_and_counted(shop: Shop, kind: str, of: dict[str, Any]) -> None:
    before = counted(shop, "not_ours", kind)
    assert result(await shop.send(event(kind, {**of, "payment_intent": of["id"]}))) == "not_ours"
    assert counted(shop, "not_ours", kind) == before + 1


@pytest.mark.parametrize("payment_id", ["pi_\x00", "pi_\ud800", LONG, 7, None, "", {"id": "pi_1"}])
@pytest.mark.parametrize("ended", [False, True], ids=["active", "ended"])
async def test_a_payment_with_an_impossible_id_for_a_hold_of_ours_is_never_our_failure(
    shop: Shop, payment_id: Any, ended: bool
) -> None:
    hold_id = await held(shop)
    if ended:
        await shop.stack.post(hold_id, "release")
    for kind in sorted(HANDLED_EVENT_TYPES):
        answer = await shop.send(
            event(kind, {"id": payment_id, "payment_intent": payment_id, "metadata": named(hold_id)})
        )
        assert answer.status_code == 200, (kind, answer.text)


async def test_a_body_over_256_kib_is_refused(shop: Shop) -> None:
    body = json.dumps(event("customer.created", {"id": "cus_1", "note": "x" * 256 * 1024})).encode()
    assert (await shop.send(body)).status_code == 413

    just_within = body[: -len(body) + 256 * 1024 - 3] + b'"}}'
    assert len(just_within) == 256 * 1024
    assert (await shop.send(just_within)).status_code in (200, 400)


async def test_without_a_secret_nobody_is_believed_and_stripe_comes_again(database: str, temporal: Client) -> None:
    async with running_shop(database, temporal, with_worker=False, STRIPE_WEBHOOK_SECRET="") as shop:
        answer = await shop.send(paid("h-1"))
    assert (answer.status_code, answer.json()["error"]) == (503, "webhook_not_configured")
    assert "STRIPE_WEBHOOK_SECRET" in answer.json()["message"]


async def test_a_payment_with_test_money_sells_nothing_at_a_live_key(shop: Shop) -> None:
    hold_id, registry = await held(shop), CollectorRegistry()
    earlier = (await read_moments(shop.stack.engine))[Moment.STRIPE_EVENT]
    live_key = {"STRIPE_API_KEY": "sk_live_" + "x" * 24, "STRIPE_WEBHOOK_SECRET": SECRET}
    async with neighbour(shop.stack, registry, **live_key) as http:

        async def send(event: dict[str, Any]) -> str:
            body = json.dumps(event).encode()
            headers = {"Stripe-Signature": signed(body)}
            return result(await http.post("/api/webhooks/stripe", content=body, headers=headers))

        assert await send(paid(hold_id)) == "wrong_mode"
        assert await send(event("customer.created", {"id": "cus_1"})) == "wrong_mode"
        assert (await shop.stack.read(hold_id))["status"] == "active"
        labels = {"type": "payment_intent.succeeded", "result": "wrong_mode"}
        assert registry.get_sample_value("inventory_stripe_event_total", labels) == 1
        assert (await read_moments(shop.stack.engine))[Moment.STRIPE_EVENT] == earlier

        assert await send(paid(hold_id) | {"livemode": True}) == "told"
    await shop.until_status(hold_id, "committed")


async def test_a_payment_with_real_money_is_ignored_at_a_test_key(shop: Shop) -> None:
    before = counted(shop, "wrong_mode")
    assert result(await shop.send(paid(await held(shop)) | {"livemode": True})) == "wrong_mode"
    assert counted(shop, "wrong_mode") == before + 1


async def test_a_payment_for_a_hold_that_nobody_knows_is_taken_in_and_counted(shop: Shop) -> None:
    before, late = counted(shop, "unknown_hold"), shop.stack.counted("inventory_late_payment")
    assert result(await shop.send(paid("no-such-hold"))) == "unknown_hold"
    assert counted(shop, "unknown_hold") == before + 1
    assert shop.stack.counted("inventory_late_payment") == late


async def test_an_event_that_comes_many_times_at_once_sells_once(shop: Shop) -> None:
    hold_id, late = await held(shop), shop.stack.counted("inventory_late_payment")
    answers = await asyncio.gather(*(shop.send(paid(hold_id, id="pi_same")) for _ in range(8)))

    await shop.until_status(hold_id, "committed")
    answers += [await shop.send(paid(hold_id, id="pi_same")) for _ in range(3)]
    assert {result(answer) for answer in answers} <= {"told", "known"}
    assert await shop.stock() == (9, 0)
    assert shop.stack.counted("inventory_late_payment") == late
    await assert_stock_adds_up(shop.stack.engine)


async def test_an_attempt_that_is_told_twice_counts_once(shop: Shop) -> None:
    hold_id = await held(shop)
    attempt = event("payment_intent.payment_failed", {"id": "pi_1", "metadata": named(hold_id)})
    run = shop.stack.run_of(hold_id)
    assert result(await shop.send(attempt)) == "told"
    told = [event.event_type async for event in run.fetch_history_events()]
    assert EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED in told
    assert EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED not in told  # an update is written once, a signal thrice

    assert {result(await shop.send(attempt)) for _ in range(3)} == {"known"}
    snapshot = await run.query("snapshot", result_type=dict)
    assert snapshot["failed_attempts"] == 1
    assert [event.event_type async for event in run.fetch_history_events()] == told  # nothing was written of repeats


async def test_what_was_acknowledged_is_done_by_the_worker_that_starts_later(database: str, temporal: Client) -> None:
    async with running_shop(database, temporal, with_worker=False) as shop:
        async with shop.stack.worker():
            hold_id = await held(shop)

        assert result(await shop.send(paid(hold_id))) == "told"

        assert (await shop.stack.read(hold_id))["status"] == "active"
        history = await shop.stack.run_of(hold_id).fetch_history()
        assert history.events[-1].event_type in (
            EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED,
            EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
        )
        async with shop.stack.worker():
            await shop.until_status(hold_id, "committed")


async def test_while_temporal_is_away_stripe_is_told_to_come_again(
    database: str, temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = temporal.service_client.config.target_host
    async with wire_to(f"postgresql://{address}/temporal") as wire:  # it carries any protocol
        monkeypatch.setenv("TEMPORAL_ADDRESS", f"127.0.0.1:{urlsplit(wire.url).port}")
        async with running_shop(database, temporal) as shop:
            made = await shop.checkout()
            wire.cut()
            answer = await shop.send(paid(made["holdId"]))
            assert (answer.status_code, answer.json()["error"]) == (503, "inventory_unavailable")
            assert "Retry-After" in answer.headers
            assert result(await shop.send(event("customer.created", {"id": "cus_1"}))) == "ignored"

            await shop.pay(made["checkoutSessionId"])
            wire.mend()
            await shop.until_status(made["holdId"], "committed")
            assert await shop.stock() == (9, 0)


async def test_while_postgres_is_away_only_what_needs_it_has_to_come_again(database: str, temporal: Client) -> None:
    async with wire_to(database) as wire, running_shop(wire.url, temporal) as shop:
        named_one = await held(shop)
        wire.cut()
        attached = event("payment_intent.succeeded", {"id": "pi_of_the_shop"})
        ended_before = paid("no-such-hold")
        for of_postgres in (attached, ended_before):
            answer = await shop.send(of_postgres)
            assert (answer.status_code, answer.json()["error"]) == (503, "inventory_unavailable")
        assert result(await shop.send(paid(named_one))) == "told"  # Temporal has it: that is enough
        wire.mend()

        assert result(await shop.send(attached)) == "not_ours"
        assert result(await shop.send(ended_before)) == "unknown_hold"
        await shop.until_status(named_one, "committed")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
IDS = st.sampled_from(["pi_1", "cs_1", "", None]) | JSON
OBJECTS = JSON | st.fixed_dictionaries(
    {
        "id": IDS,
        "payment_intent": IDS,
        "payment_status": st.sampled_from(["paid", "unpaid"]) | JSON,
        "metadata": JSON
        | st.fixed_dictionaries(
            {"inventory_reservation_id": st.just("fuzzed") | JSON, "shop_id": st.just(SHOP) | JSON}
        ),
    }
)
EVENTS = JSON | st.fixed_dictionaries(
    {
        "id": st.just("evt_1") | JSON,
        "object": st.sampled_from(["event", "v2.core.event"]) | JSON,
        "type": st.sampled_from(sorted(HANDLED_EVENT_TYPES)) | JSON,
        "livemode": JSON,
        "data": JSON | st.fixed_dictionaries({"object": OBJECTS}),
    }
)


async def test_no_signed_body_whatever_makes_us_fail(shop: Shop) -> None:
    await shop.stack.made((shop.item, 1), holdId="fuzzed")

    @seed(20261205)
    @settings(max_examples=examples(20), deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(EVENTS, min_size=4, max_size=4))
    def gather(drawn: list[Any]) -> None:
        events.extend(drawn)

    events: list[Any] = []
    gather()
    for body in (json.dumps(each).encode() for each in events):
        answer = await shop.send(body)
        assert answer.status_code in (200, 400), (body, answer.text)
    await assert_stock_adds_up(shop.stack.engine)
