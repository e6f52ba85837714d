import asyncio
from typing import Any

import httpx
import pytest
from stripe import APIError, AuthenticationError, IdempotencyError, InvalidRequestError

from tests.simulated import Simulated, simulated, stripe_client
from tests.simulator.description import Witness
from tests.simulator.shop import checkout, opened, paid
from tests.waiting import until


@pytest.mark.parametrize("key", ["sk_live_abcdefgh", "pk_test_abcdefgh", "nonsense"])
async def test_only_a_test_mode_secret_key_is_let_in(sim: Simulated, key: str) -> None:
    async with stripe_client(sim.url, api_key=key) as stranger:
        with pytest.raises(AuthenticationError) as refused:
            await stranger.v1.checkout.sessions.list_async()
    assert refused.value.http_status == 401
    assert key not in str(refused.value)


async def test_without_a_key_it_is_401(sim: Simulated) -> None:
    answer = await sim.browser.get("/v1/events")
    assert (answer.status_code, answer.json()["error"]["type"]) == (401, "invalid_request_error")
    assert (await sim.browser.get("/v1/events", auth=("sk_test_basic", ""))).status_code == 200
    assert (await sim.browser.get("/v1/events", headers={"Authorization": "Basic w6Q"})).status_code == 401


async def test_one_key_can_be_demanded(witness: Witness) -> None:
    async with simulated(api_key="sk_test_the_one", watched_by=witness.watch) as sim:
        with pytest.raises(AuthenticationError):
            await sim.stripe.v1.events.list_async()
        async with stripe_client(sim.url, api_key="sk_test_the_one") as known:
            assert (await known.v1.events.list_async()).data == []
    assert witness.problems == []


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/v1/checkout/sessions/cs_none", "session"),
        ("/v1/payment_intents/pi_none", "intent"),
        ("/v1/refunds/re_none", "refund"),
        ("/v1/charges/ch_none", "charge"),
        ("/v1/events/evt_none", "id"),
        ("/v1/prices/price_none", "price"),
        ("/v1/disputes/du_none", "dispute"),
    ],
)
async def test_an_unknown_id_is_404_resource_missing(sim: Simulated, path: str, param: str) -> None:
    answer = await sim.browser.get(path, headers={"Authorization": "Bearer sk_test_x"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (404, "resource_missing", param)
    assert answer.headers["request-id"].startswith("req_")
    assert answer.headers["request-id"] in error["request_log_url"]
    assert error["doc_url"].endswith("resource-missing")


async def test_an_unknown_id_in_a_parameter_is_400(sim: Simulated) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        await sim.stripe.v1.refunds.create_async({"payment_intent": "pi_none"})
    assert (refused.value.http_status, refused.value.code) == (400, "resource_missing")
    with pytest.raises(InvalidRequestError) as refused:
        await sim.stripe.v1.refunds.create_async({})
    assert refused.value.http_status == 400


async def test_an_unknown_address_is_404(sim: Simulated) -> None:
    answer = await sim.browser.get("/v1/customers")
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "invalid_request_error")


async def test_what_cannot_be_expanded_is_400(sim: Simulated) -> None:
    session = await opened(sim)
    for wrong in ("metadata", "payment_intent.colour", "a.b.c.d.e"):
        with pytest.raises(InvalidRequestError):
            await sim.stripe.v1.checkout.sessions.retrieve_async(session.id, {"expand": [wrong]})
        await paid(sim, session) if wrong == "metadata" else None


async def test_events_can_be_read_again(sim: Simulated) -> None:
    await paid(sim, await opened(sim))
    listed = await sim.stripe.v1.events.list_async({"type": "payment_intent.*"})
    assert [event.type for event in listed.data] == ["payment_intent.succeeded", "payment_intent.created"]
    named = await sim.stripe.v1.events.list_async({"types": ["checkout.session.completed"]})
    event = await sim.stripe.v1.events.retrieve_async(named.data[0].id)
    data: Any = event.data.object
    assert (event.type, data["status"]) == ("checkout.session.completed", "complete")


async def test_the_same_key_and_parameters_get_the_same_answer(sim: Simulated) -> None:
    create = sim.stripe.v1.checkout.sessions.create_async
    first = await create(checkout(), {"idempotency_key": "hold-1"})
    again = await create(checkout(), {"idempotency_key": "hold-1"})
    assert again.id == first.id
    assert again.last_response is not None
    headers: Any = again.last_response.headers
    assert headers["idempotent-replayed"] == "true"
    assert len(await sim.control("/sessions", "GET")) == 1
    async with stripe_client(sim.url, api_key="sk_test_another") as other:
        assert (await other.v1.checkout.sessions.create_async(checkout(), {"idempotency_key": "hold-1"})).id != first.id


async def test_a_key_with_other_parameters_is_an_idempotency_error(sim: Simulated) -> None:
    create = sim.stripe.v1.checkout.sessions.create_async
    session = await create(checkout(), {"idempotency_key": "hold-1"})
    with pytest.raises(IdempotencyError) as refused:
        await create(checkout(client_reference_id="other"), {"idempotency_key": "hold-1"})
    assert refused.value.http_status == 400
    with pytest.raises(IdempotencyError):
        await sim.stripe.v1.checkout.sessions.expire_async(session.id, {}, {"idempotency_key": "hold-1"})


async def test_a_refusal_is_kept_but_a_bad_parameter_is_not(sim: Simulated) -> None:
    intent = await paid(sim, await opened(sim))
    await sim.stripe.v1.refunds.create_async({"payment_intent": intent})
    for _ in range(2):
        with pytest.raises(InvalidRequestError) as refused:
            await sim.stripe.v1.refunds.create_async({"payment_intent": intent}, {"idempotency_key": "refund"})
    assert refused.value.headers is not None
    assert refused.value.headers["idempotent-replayed"] == "true"
    for _ in range(2):
        with pytest.raises(InvalidRequestError) as refused:
            await sim.stripe.v1.checkout.sessions.create_async(checkout(mode="setup"), {"idempotency_key": "setup"})
        assert refused.value.headers is not None
        assert "idempotent-replayed" not in refused.value.headers
    assert (await sim.stripe.v1.checkout.sessions.create_async(checkout(), {"idempotency_key": "setup"})).id


async def test_a_key_whose_first_request_still_runs_is_409(sim: Simulated) -> None:
    await sim.control("/faults", on="api", effect="delay", match="checkout.sessions.create", seconds=60)
    create = sim.stripe.v1.checkout.sessions.create_async
    first = asyncio.create_task(create(checkout(), {"idempotency_key": "hold-1"}))

    async def has_fired() -> bool:
        return bool((await sim.control("/faults", "GET"))[0]["fired"])

    await until(has_fired, "the first call is delayed")
    with pytest.raises(APIError) as refused:
        await create(checkout(), {"idempotency_key": "hold-1"})
    assert refused.value.error is not None
    assert (refused.value.http_status, refused.value.error.code) == (409, "idempotency_key_in_use")
    await sim.control("/faults", "DELETE")
    session = await first
    assert (await create(checkout(), {"idempotency_key": "hold-1"})).id == session.id


async def test_a_key_is_forgotten_after_a_day(sim: Simulated) -> None:
    create = sim.stripe.v1.checkout.sessions.create_async
    first = await create(checkout(), {"idempotency_key": "hold-1"})
    await sim.control("/clock", advance=86_401)
    assert (await create(checkout(), {"idempotency_key": "hold-1"})).id != first.id


async def test_every_call_is_noted(sim: Simulated) -> None:
    await sim.stripe.v1.checkout.sessions.create_async(checkout(), {"idempotency_key": "hold-1"})
    (call,) = await sim.control("/calls", "GET")
    assert (call["operation"], call["status"], call["replayed"]) == ("checkout.sessions.create", 200, False)
    assert call["idempotency_key"] == "hold-1"


async def test_a_form_that_cannot_be_read_is_400(sim: Simulated) -> None:
    headers = {"Authorization": "Bearer sk_test_x", "Content-Type": "application/x-www-form-urlencoded"}
    for body in ("a[b=1", "metadata=1", "line_items[x]=1", "line_items=1", "a=1&a[b]=2"):
        answer: httpx.Response = await sim.browser.post("/v1/checkout/sessions", content=body, headers=headers)
        assert answer.status_code == 400, body


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example:8010"}]
)
async def test_a_page_of_another_site_controls_nothing(sim: Simulated, headers: dict[str, str]) -> None:
    answer = await sim.browser.post("/_simulator/clock", json={"advance": 60}, headers=headers)
    assert answer.status_code == 403
    own = await sim.browser.post("/_simulator/clock", json={"advance": 0}, headers={"Origin": sim.url})
    assert own.status_code == 200
