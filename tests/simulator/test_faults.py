import asyncio
from typing import Any

import pytest
from stripe import APIConnectionError, APIError, InvalidRequestError, RateLimitError

from tests.simulated import Inbox, Simulated, stripe_client
from tests.simulator.shop import checkout, opened, paid
from tests.waiting import until

KEY: Any = {"idempotency_key": "hold-1"}


async def test_a_500_before_the_effect_is_kept_under_its_key(sim: Simulated) -> None:
    await sim.control("/faults", on="api", effect="error", match="checkout.sessions.create")
    for _ in range(2):
        with pytest.raises(APIError) as broken:
            await sim.stripe.v1.checkout.sessions.create_async(checkout(), KEY)
        assert broken.value.http_status == 500
    assert await sim.control("/sessions", "GET") == []
    assert (await sim.stripe.v1.checkout.sessions.create_async(checkout(), {"idempotency_key": "hold-1:2"})).id


async def test_a_500_after_the_effect_hides_what_happened(sim: Simulated) -> None:
    await sim.control("/faults", on="api", effect="error", match="refunds.create", when="after")
    intent = await paid(sim, await opened(sim))
    with pytest.raises(APIError):
        await sim.stripe.v1.refunds.create_async({"payment_intent": intent}, KEY)
    assert (await sim.books(intent))["refunded"] == 2500
    with pytest.raises(InvalidRequestError) as refused:
        await sim.stripe.v1.refunds.create_async({"payment_intent": intent}, {"idempotency_key": "another"})
    assert refused.value.code == "charge_already_refunded"


async def test_a_500_that_was_not_kept_is_mended_by_the_librarys_retry(sim: Simulated) -> None:
    await sim.control("/faults", on="api", effect="error", match="checkout.sessions.create", stored=False)
    async with stripe_client(sim.url, retries=1) as patient:
        assert (await patient.v1.checkout.sessions.create_async(checkout())).status == "open"
    statuses = [call["status"] for call in await sim.control("/calls", "GET")]
    assert statuses == [500, 200]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_call_that_is_never_answered(sim: Simulated, when: str) -> None:
    await sim.control("/faults", on="api", effect="timeout", match="checkout.sessions.create", when=when, seconds=60)
    async with stripe_client(sim.url, patience=2) as hurried:
        with pytest.raises(APIConnectionError):
            await hurried.v1.checkout.sessions.create_async(checkout(), KEY)
    made = await sim.control("/sessions", "GET")
    assert len(made) == (0 if when == "before" else 1)
    session = await sim.stripe.v1.checkout.sessions.create_async(checkout(), KEY)
    assert [each["session"] for each in await sim.control("/sessions", "GET")] == [session.id]


@pytest.mark.parametrize(("status", "error"), [(429, RateLimitError), (409, APIError), (400, InvalidRequestError)])
async def test_other_errors_on_request(sim: Simulated, status: int, error: type[Exception]) -> None:
    await sim.control(
        "/faults", on="api", effect="error", match="refunds.*", status=status, code="balance_insufficient"
    )
    intent = await paid(sim, await opened(sim))
    with pytest.raises(error) as refused:
        await sim.stripe.v1.refunds.create_async({"payment_intent": intent})
    body: Any = refused.value
    assert (body.http_status, body.error.code) == (status, "balance_insufficient")


async def test_the_nth_call_fails_and_only_that(sim: Simulated) -> None:
    await sim.control("/faults", on="api", effect="error", match="checkout.sessions.create", skip=2)
    outcomes = []
    for _ in range(4):
        try:
            outcomes.append((await opened(sim)).status)
        except APIError:
            outcomes.append("broken")
    assert outcomes == ["open", "open", "broken", "open"]


async def test_a_share_of_calls_fails(sim: Simulated) -> None:
    rule = await sim.control("/faults", on="api", effect="error", match="events.list", share=0.5, times=None)
    for _ in range(40):
        try:
            await sim.stripe.v1.events.list_async()
        except APIError:
            continue
    (seen,) = await sim.control("/faults", "GET")
    assert (seen["id"], seen["seen"]) == (rule["id"], 40)
    assert 8 <= seen["fired"] <= 32
    await sim.control(f"/faults/{rule['id']}", "DELETE")
    assert (await sim.stripe.v1.events.list_async()).data == []


async def test_a_fault_can_be_about_one_payment(sim: Simulated) -> None:
    session, other = await opened(sim), await opened(sim)
    await sim.control("/faults", on="api", effect="error", about=session.id, times=None)
    await sim.stripe.v1.checkout.sessions.retrieve_async(other.id)
    with pytest.raises(APIError):
        await sim.stripe.v1.checkout.sessions.retrieve_async(session.id)
    intent = await paid(sim, session)
    with pytest.raises(APIError):
        await sim.stripe.v1.refunds.create_async({"payment_intent": intent})


async def test_a_fault_can_be_about_one_hold(sim: Simulated) -> None:
    await sim.control("/faults", on="api", effect="error", about="hold-1", match="checkout.sessions.create")
    assert (await opened(sim, metadata={"inventory_reservation_id": "hold-2"})).status == "open"
    with pytest.raises(APIError):
        await opened(sim)


async def test_the_shopper_pays_while_the_session_is_being_expired(sim: Simulated, box: Inbox) -> None:
    session = await opened(sim)
    await sim.control("/faults", on="api", effect="pay", match="checkout.sessions.expire")
    with pytest.raises(InvalidRequestError) as refused:
        await sim.stripe.v1.checkout.sessions.expire_async(session.id)
    assert (refused.value.http_status, refused.value.code) == (400, None)
    got = await sim.stripe.v1.checkout.sessions.retrieve_async(session.id, {"expand": ["payment_intent"]})
    assert (got.status, got.payment_status) == ("complete", "paid")
    await box.wait_for("checkout.session.completed")


async def test_a_payment_in_flight_lands_after_the_session_was_expired(sim: Simulated, box: Inbox) -> None:
    session = await opened(sim)
    await sim.control("/faults", on="api", effect="pay", match="checkout.sessions.expire", when="after")
    assert (await sim.stripe.v1.checkout.sessions.expire_async(session.id)).status == "expired"
    await box.wait_for("checkout.session.expired", "checkout.session.completed")
    assert (await sim.stripe.v1.checkout.sessions.retrieve_async(session.id)).payment_status == "paid"


async def test_the_shopper_pays_while_the_payment_intent_is_being_cancelled(sim: Simulated) -> None:
    intent = await sim.stripe.v1.payment_intents.create_async({"amount": 2500, "currency": "eur"})
    await sim.control("/faults", on="api", effect="pay", match="payment_intents.cancel")
    with pytest.raises(InvalidRequestError):
        await sim.stripe.v1.payment_intents.cancel_async(intent.id)
    assert (await sim.stripe.v1.payment_intents.retrieve_async(intent.id)).status == "succeeded"


@pytest.mark.parametrize("late", ["complete", "expired"])
async def test_paying_late(sim: Simulated, box: Inbox, late: str) -> None:
    session = await opened(sim)
    await sim.control(f"/sessions/{session.id}/expire")
    refused = await sim.browser.post(f"/_simulator/sessions/{session.id}/pay", json={})
    assert refused.status_code == 400
    intent = await paid(sim, session, late=late)
    await box.wait_for("payment_intent.succeeded")
    got = await sim.stripe.v1.checkout.sessions.retrieve_async(session.id)
    assert (got.status, got.payment_intent) == (late, intent)
    assert (await sim.books(session.id))["captured"] == 2500
    if late == "complete":
        await box.wait_for("checkout.session.completed")


async def test_a_declined_late_payment_leaves_the_session_expired(sim: Simulated) -> None:
    session = await opened(sim)
    await sim.control(f"/sessions/{session.id}/expire")
    await paid(sim, session, "declined", late="complete")
    assert (await sim.stripe.v1.checkout.sessions.retrieve_async(session.id)).status == "expired"


async def test_a_slow_call_is_answered_late(sim: Simulated) -> None:
    await sim.control("/faults", on="api", effect="delay", when="after", seconds=60)
    slow = asyncio.create_task(opened(sim))
    await until(lambda: sim.control("/sessions", "GET"), "the session is made")
    assert not slow.done()
    await sim.control("/faults", "DELETE")
    assert (await slow).status == "open"


async def test_a_fault_that_makes_no_sense_is_refused(sim: Simulated) -> None:
    bodies: tuple[Any, ...] = (
        {},
        {"on": "api", "effect": "drop"},
        {"on": "webhook", "effect": "pay"},
        {"on": "api", "effect": "error", "colour": 1},
        {"on": "api", "effect": "pay", "how": "gold"},
        {"on": "api", "effect": "error", "share": "half"},
        [],
    )
    for body in bodies:
        answer = await sim.browser.post("/_simulator/faults", json=body)
        assert answer.status_code == 400, body
    assert await sim.control("/faults", "GET") == []


async def test_resetting_forgets_everything(sim: Simulated) -> None:
    await paid(sim, await opened(sim))
    await sim.control("/faults", on="api", effect="error", times=None)
    await sim.control("/clock", advance=100)
    await sim.control("/reset")
    assert (await sim.stripe.v1.events.list_async()).data == []
    assert await sim.control("/sessions", "GET") == []
    assert (await sim.control("/health", "GET"))["status"] == "ok"
    await sim.control("/clock", reset=True)
