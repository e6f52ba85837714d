"""Both clients against a server that hangs, breaks off, sends malformed answers, or is busy."""

import json
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from holdfast_client import (
    AsyncInventoryAuthorityClient,
    AuthenticationError,
    CheckoutItem,
    ConflictError,
    Hold,
    HoldExistsError,
    HoldNotActiveError,
    HoldNotFoundError,
    InventoryAuthorityError,
    InventoryBusyError,
    InventoryTimeoutError,
    InventoryUnavailableError,
    Item,
    MalformedAnswerError,
    PaymentsUnavailableError,
)
from holdfast_client.failures import Failure, connection_failure, error_answer, pause_before_repeat
from tests.client.conftest import Connect
from tests.client.faulty_server import (
    HOLD_ID,
    LINE,
    SHOP,
    FaultyServer,
    Reaction,
    create_hold,
    error_json,
    hold_json,
    never_respond,
    reset_connection,
    respond,
    response_bytes,
    send,
    send_and_close,
    send_slowly,
)

Client = AsyncInventoryAuthorityClient
CART = [Item("TEE", 1)]
UNAVAILABLE = respond(503, error_json("inventory_unavailable"))
IN_2099 = "Sun, 22 Nov 2099 12:00:00 GMT"
TEN_MINUTES = 600_000  # longer than any time-out of these tests


async def create(client: Client, **given: Any) -> Hold:
    hold = await client.create_hold(SHOP, CART, **given)
    assert isinstance(hold, Hold)
    return hold


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n"
SLOW: dict[str, Reaction] = {  # without a deadline for the whole call the slow ones take longer than a test may
    "never responds": never_respond,
    "sends its headers slowly": send_slowly(b"HTTP/1.1 200 OK\r\n" + b"X-Filler: x\r\n" * 1000, 0.1),
    "sends its body slowly": send_slowly(HEAD + b" " * 50_000, 0.1),
    "stops within the body": send(HEAD + b"{"),
}


@pytest.mark.parametrize("reaction", SLOW.values(), ids=SLOW.keys())
async def test_a_call_to_a_slow_server_ends_with_the_timeout(
    connect: Connect, server: FaultyServer, reaction: Reaction
) -> None:
    server.react(reaction)
    async with connect(server.url, seconds=0.5) as client:
        with pytest.raises(InventoryTimeoutError) as late:
            await create(client)
    [request] = server.requests
    assert late.value.hold_id == request.body["holdId"]
    assert late.value.idempotency_key == request.headers["idempotency-key"]
    assert late.value.request_id == request.headers["x-request-id"]


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of the host shop.test, in the order in which they are tried; a test fills the list."""
    addresses: list[str] = []
    resolve = socket.getaddrinfo

    def resolve_shop(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in ("shop.test", b"shop.test"):
            return resolve(host, port, *args, **kwargs)
        return [found for address in addresses for found in resolve(address, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve_shop)
    return addresses


async def test_an_address_that_refuses_is_followed_by_the_next(
    connect: Connect, server: FaultyServer, addresses: list[str]
) -> None:
    server.react(create_hold)
    addresses += ["127.0.0.2", "127.0.0.3", "127.0.0.1"]
    async with connect(server.url.replace("127.0.0.1", "shop.test")) as client:
        assert (await create(client)).status == "active"


async def test_a_host_with_many_addresses_that_do_not_answer_ends_with_the_timeout(
    connect: Connect, addresses: list[str]
) -> None:
    addresses += [f"127.0.{n // 250}.{n % 250 + 1}" for n in range(1000)]  # each with the whole time-out: 500 s
    with socket.create_server(("0.0.0.0", 0), backlog=0) as full, ExitStack() as callers:  # noqa: S104 - loopback only
        for _ in range(3):  # the queue of connections is full: Linux answers no further one
            waiting = callers.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", full.getsockname()[1]))
        async with connect(f"http://shop.test:{full.getsockname()[1]}", seconds=0.5) as client:
            with pytest.raises(InventoryTimeoutError):
                await create(client)


def test_a_failure_without_a_message_is_named_by_its_kind() -> None:
    assert "ReadError" in str(connection_failure("http://shop.test", httpx.ReadError("")).error)


TEMPORARY: dict[str, Reaction] = {
    "resets the connection": reset_connection,
    "closes without a response": send_and_close(b""),
    "closes within the headers": send_and_close(b"HTTP/1.1 201 Cre"),
    "closes within the body": send_and_close(HEAD + b'{"holdId'),
    "closes within a chunk": send_and_close(b"HTTP/1.1 201 X\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n{"),
    "is a proxy without a server": respond(502, b"<html>Bad Gateway</html>"),
    "has an internal error": respond(500, error_json("internal_error")),
    "is unavailable": UNAVAILABLE,
    "is busy": respond(429, error_json("inventory_busy", retryAfter=10)),
    "is overloaded": respond(429, error_json("overloaded", retryAfter=10)),
    "did not get it in time": respond(408, error_json("request_timed_out")),
    "timed out": respond(504, error_json("inventory_timeout", holdId=HOLD_ID, retryAfter=10)),
}


@pytest.mark.parametrize("reaction", TEMPORARY.values(), ids=TEMPORARY.keys())
async def test_a_temporary_failure_is_repeated_with_the_same_key_and_hold(
    client: Client, server: FaultyServer, reaction: Reaction
) -> None:
    server.react(reaction, reaction, create_hold)
    hold = await create(client)
    assert len(server.requests) == 3
    assert {json.dumps(request.body) for request in server.requests} == {json.dumps(server.requests[0].body)}
    for name in ("idempotency-key", "x-request-id"):
        assert len({request.headers[name] for request in server.requests}) == 1
    assert hold.hold_id == server.requests[0].body["holdId"]


async def test_every_call_but_health_is_repeated(client: Client, server: FaultyServer) -> None:
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "active": lambda: client.extend(SHOP, HOLD_ID, 60),
        "committed": lambda: client.commit(SHOP, HOLD_ID),
        "released": lambda: client.release(SHOP, HOLD_ID),
        "expired": lambda: client.get_hold(SHOP, HOLD_ID),
    }
    for status, call in calls.items():
        server.react(reset_connection, respond(200, hold_json(status=status)))
        await call()
    keys = [request.headers.get("idempotency-key") for request in server.requests]
    assert keys[0] == keys[1] is not None
    server.react(reset_connection, respond(200, {"ok": True}))
    await client.validate(SHOP, CART)
    assert len(server.requests) == 10
    server.react(reset_connection)
    with pytest.raises(InventoryUnavailableError):
        await client.health_check()
    assert len(server.requests) == 11


async def test_every_argument_is_sent(client: Client, server: FaultyServer) -> None:
    server.react(create_hold)
    await create(client, ttl_seconds=600, hold_id="h-9", reference="order-1", replace=True, idempotency_key="key-1")
    url = "https://pay.example/cs_1"
    server.react(respond(201, {**hold_json(), "checkoutSessionId": "cs_1", "url": url}))
    session = await client.create_checkout_session(
        SHOP,
        [CheckoutItem(sku="TEE", quantity=1, name="T-shirt", unit_amount=1999, currency="eur")],
        success_url="https://shop.example/paid",
        cancel_url="https://shop.example/cart",
        ttl_seconds=1800,
        hold_id=HOLD_ID,
        reference="order-1",
        replace=True,
        capture_method="manual",
        payment_method_types=("card",),
        locale="de",
        metadata={"cart": "7"},
        idempotency_key="key-2",
    )
    assert session.url == url
    common = {"shopId": SHOP, "reference": "order-1", "replace": True}
    assert [request.body for request in server.requests] == [
        {**common, "items": [LINE], "ttlSeconds": 600, "holdId": "h-9"},
        {
            **common,
            "items": [{**LINE, "name": "T-shirt", "unitAmount": 1999, "currency": "eur"}],
            "successUrl": "https://shop.example/paid",
            "cancelUrl": "https://shop.example/cart",
            "ttlSeconds": 1800,
            "holdId": HOLD_ID,
            "captureMethod": "manual",
            "paymentMethodTypes": ["card"],
            "locale": "de",
            "metadata": {"cart": "7"},
        },
    ]
    assert [request.headers["idempotency-key"] for request in server.requests] == ["key-1", "key-2"]


async def test_a_callers_own_key_is_sent_without_a_hold_id(client: Client, server: FaultyServer) -> None:
    server.react(UNAVAILABLE, respond(201, hold_json(holdId="h_of_the_key")))
    assert (await create(client, idempotency_key="attempt-1")).hold_id == "h_of_the_key"
    assert [request.headers["idempotency-key"] for request in server.requests] == ["attempt-1"] * 2
    assert "holdId" not in server.requests[0].body


async def test_an_error_names_the_hold_of_the_callers_key_and_not_a_conflicting_one(
    client: Client, server: FaultyServer
) -> None:
    server.react(respond(504, error_json("inventory_timeout", holdId="h_of_the_key", retryAfter=TEN_MINUTES)))
    with pytest.raises(InventoryTimeoutError) as late:
        await create(client, idempotency_key="attempt-1")
    assert (late.value.hold_id, late.value.idempotency_key) == ("h_of_the_key", "attempt-1")
    server.react(respond(409, error_json("hold_not_active", holdId="h_of_the_key", status="expired")))
    with pytest.raises(HoldNotActiveError) as ended:
        await create(client, idempotency_key="attempt-1")
    assert ended.value.hold_id == "h_of_the_key"
    server.react(respond(409, error_json("hold_exists", holdId="h-other")))
    with pytest.raises(HoldExistsError) as exists:
        await create(client, idempotency_key="attempt-1")
    assert (exists.value.hold_id, exists.value.existing_hold_id) == (None, "h-other")


async def test_a_retry_after_beyond_the_timeout_ends_the_call(client: Client, server: FaultyServer) -> None:
    server.react(respond(429, error_json("inventory_busy", retryAfter=TEN_MINUTES)))
    with pytest.raises(InventoryBusyError) as busy:
        await create(client)
    assert busy.value.retry_after == 600
    assert len(server.requests) == 1


async def test_a_repeat_is_sent_only_after_retry_after(client: Client, server: FaultyServer) -> None:
    server.react(respond(503, b"", Retry_After="1"), create_hold)
    await create(client)
    first, second = server.requests
    assert second.at - first.at >= 1


async def test_repeats_end_with_the_timeout(connect: Connect, server: FaultyServer) -> None:
    server.react(UNAVAILABLE)
    async with connect(server.url, seconds=1) as client:
        with pytest.raises(InventoryUnavailableError):
            await create(client)
    assert len(server.requests) <= 7  # with pauses from 0.05 s on that double there is no time for more
    async with connect("http://127.0.0.1:9", seconds=0.3) as client:
        with pytest.raises(InventoryUnavailableError):
            await client.validate(SHOP, CART)


def test_a_repeat_waits_for_retry_after_and_longer_each_time() -> None:
    def pause(headers: dict[str, str], body: bytes, attempt: int) -> float:
        failure = error_answer(503, headers, body)
        found = pause_before_repeat(failure, attempt, seconds_taken=1, seconds_left=3600)
        assert found is not None
        return found

    assert 0 < pause({}, b"", 0) <= pause({}, b"", 1) <= pause({}, b"", 3) <= 2
    assert pause({}, b"", 0) < pause({}, b"", 3)
    assert 7 < pause({"Retry-After": "7"}, b"<html>", 0) < 8
    assert 0.6 < pause({"Retry-After": "1"}, b'{"retryAfter": 600}', 0) < 1
    assert 0 < pause({"Retry-After": "Sun, 22 Nov 2020 12:00:00 GMT"}, b"", 0) < 1
    assert 0 < pause({"Retry-After": "soon"}, b"", 0) < 1
    assert 7 < pause({"Retry-After": "7"}, b'{"retryAfter": true}', 0) < 8


def test_a_retry_after_date_without_a_zone_is_in_utc() -> None:
    failure = error_answer(503, {"Retry-After": "Sun, 22 Nov 2099 12:00:00 -0000"}, b"")
    assert failure.retry_after == pytest.approx(error_answer(503, {"Retry-After": IN_2099}, b"").retry_after, abs=60)
    assert failure.retry_after > 0


def test_a_repeat_that_could_not_end_in_time_is_not_made() -> None:
    failure = Failure(InventoryUnavailableError("No answer."), temporary=True, retry_after=2)
    assert pause_before_repeat(failure, 0, seconds_taken=1, seconds_left=4) is not None
    assert pause_before_repeat(failure, 0, seconds_taken=2, seconds_left=4) is None
    assert pause_before_repeat(failure, 0, seconds_taken=0, seconds_left=2) is None


PERMANENT: dict[str, tuple[Reaction, type[InventoryAuthorityError]]] = {
    "a proxy rejects the token": (respond(401, b"<html>"), AuthenticationError),
    "the token is not allowed to": (respond(403, error_json("forbidden")), AuthenticationError),
    "an unknown conflict": (respond(409, error_json("conflict_of_a_later_version")), ConflictError),
    "a conflict without a name": (respond(409, b"{}"), MalformedAnswerError),
    "insufficient stock without items": (respond(409, error_json("insufficient_stock")), MalformedAnswerError),
    "not active with a wrong status": (respond(409, error_json("hold_not_active", status=7)), MalformedAnswerError),
    "no payments": (respond(503, error_json("payments_not_configured")), PaymentsUnavailableError),
    "a wrong address": (respond(404, b"<html>Not here</html>"), MalformedAnswerError),
    "a redirect": (respond(307, b"", Location="/elsewhere"), MalformedAnswerError),
}


@pytest.mark.parametrize(("reaction", "error"), PERMANENT.values(), ids=PERMANENT.keys())
async def test_a_permanent_failure_is_not_repeated(
    client: Client, server: FaultyServer, reaction: Reaction, error: type[InventoryAuthorityError]
) -> None:
    server.react(reaction)
    with pytest.raises(error):
        await create(client)
    assert len(server.requests) == 1


MALFORMED: dict[str, Reaction] = {
    "html": respond(200, b"<html>Welcome to the hotel's network</html>", Content_Type="text/html"),
    "no content": send(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "half of the JSON": respond(201, json.dumps(hold_json()).encode()[:-20]),
    "not UTF-8": respond(201, b'{"holdId": "\xff"}'),
    "a list": respond(201, [hold_json()]),
    "deeply nested": respond(201, b"[" * 100_000),
    "the wrong success status": respond(202, hold_json()),
    "over a megabyte": respond(201, b" " * 1_100_000 + json.dumps(hold_json()).encode()),
    "an error as a success": respond(200, error_json("insufficient_stock")),
    "another hold": respond(201, hold_json(holdId="h-2")),
    "another shop": respond(201, hold_json(shopId="shop-2")),
    "other items": respond(201, hold_json(items=[{**LINE, "sku": "MUG"}])),
    "another quantity": respond(201, hold_json(items=[LINE, LINE])),
    "items that are not objects": respond(201, hold_json(items=["TEE"])),
    "a fractional quantity": respond(201, hold_json(items=[{**LINE, "quantity": 1.0}])),
    "true as a quantity": respond(201, hold_json(items=[{**LINE, "quantity": True}])),
    "an unknown status": respond(201, hold_json(status="pondered")),
    "a time without a zone": respond(201, hold_json(expiresAt="2026-11-22T12:20:00")),
    "a time before the year 1": respond(201, hold_json(expiresAt="0001-01-01T00:00:00+23:00")),
    "a number as a time": respond(201, hold_json(createdAt=1732278000)),
    "no hold without a reason": respond(200, {"holdId": None}),
    "no hold in a mode with holds": respond(200, {"holdId": None, "mode": "reserve_ttl", "bypassed": False}),
    "a bypass as a string": respond(200, {"holdId": None, "mode": "reserve_ttl", "bypassed": "true"}),
}


async def test_an_error_has_the_request_id_that_the_answer_names(client: Client, server: FaultyServer) -> None:
    server.react(respond(404, error_json("hold_not_found"), X_Request_ID="edge-1"))
    with pytest.raises(HoldNotFoundError) as named:
        await client.get_hold(SHOP, HOLD_ID)
    assert named.value.request_id == "edge-1"


@pytest.mark.parametrize("reaction", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_answer_is_no_hold(client: Client, server: FaultyServer, reaction: Reaction) -> None:
    server.react(reaction)
    with pytest.raises(MalformedAnswerError) as malformed:
        await client.create_hold(SHOP, CART, hold_id=HOLD_ID)
    assert len(server.requests) == 1
    assert malformed.value.hold_id == HOLD_ID
    assert len(str(malformed.value)) < 700


async def test_a_body_that_contradicts_its_status_is_no_success(client: Client, server: FaultyServer) -> None:
    for body in ({"ok": False}, {"ok": 1}, {}):
        server.react(respond(200, body))
        with pytest.raises(MalformedAnswerError):
            await client.validate(SHOP, CART)
    server.react(respond(200, hold_json(status="expired")))
    with pytest.raises(MalformedAnswerError):
        await client.commit(SHOP, HOLD_ID)
    with pytest.raises(HoldNotActiveError):
        await client.extend(SHOP, HOLD_ID, 60)
    for fields in ({"status": "committed"}, {"status": "active"}, {"status": "active", "ending": "sometime"}):
        server.react(respond(200, hold_json(**fields)))
        with pytest.raises(MalformedAnswerError):
            await client.release(SHOP, HOLD_ID)
    for report in ({}, {"status": "fine"}, {"status": "unavailable"}):
        server.react(respond(200, report))
        with pytest.raises(InventoryAuthorityError):
            await client.health_check()


async def test_a_recorded_release_is_returned_as_ending(client: Client, server: FaultyServer) -> None:
    server.react(respond(202, hold_json(ending="release")))
    assert (await client.release(SHOP, HOLD_ID)).ending == "release"


async def test_unknown_fields_are_ignored(client: Client, server: FaultyServer) -> None:
    server.react(respond(201, hold_json(weather="fair", items=[{**LINE, "colour": "red"}])))
    assert (await create(client, hold_id=HOLD_ID)).hold_id == HOLD_ID


async def test_a_redirect_is_not_followed_with_the_token(client: Client, server: FaultyServer) -> None:
    server.react(respond(302, b"", Location=f"{server.url}/elsewhere"))
    with pytest.raises(MalformedAnswerError):
        await client.get_hold(SHOP, HOLD_ID)
    assert [request.target for request in server.requests] == [f"/api/inventory/holds/{SHOP}/{HOLD_ID}"]


async def test_a_connection_that_the_server_closed_is_replaced(client: Client, server: FaultyServer) -> None:
    success = response_bytes(200, {"ok": True})
    server.react(send_and_close(success), send(success))
    for _ in range(3):
        await client.validate(SHOP, CART)
    assert len(server.requests) == 3


async def test_holdfasts_bypass_is_logged(
    client: Client, server: FaultyServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.react(respond(200, {"ok": True, "bypassed": True}))
    with caplog.at_level(logging.WARNING, "holdfast_client"):
        assert (await client.validate(SHOP, CART)).bypassed
    assert [record.name for record in caplog.records if record.levelno == logging.WARNING] == ["holdfast_client"]
