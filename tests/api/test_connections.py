"""Clients that send too much, too slowly, or nothing: they are closed, and the API serves the others."""

import asyncio
import json
import logging
import re
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress

import httpx
import pytest
from prometheus_client import CollectorRegistry

from api.app import create_app
from api.http_protocol import MAX_PIPELINED
from core.settings import Settings
from tests.api.asking import HOLDS, ITEMS, VALIDATE, locked, neighbour
from tests.stack import ADMIN_TOKEN, PROTOCOL, SHOP, Stack, environment, serving
from tests.waiting import until

GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
POST = f"POST {VALIDATE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n".encode()
JSON = b"Content-Type: application/json\r\n"
CHUNKED = POST + JSON + b"Transfer-Encoding: chunked\r\n\r\n"
KIB = 1024


class Connection:
    """One raw connection to the API."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, *blocks: bytes) -> None:
        for block in blocks:
            self._writer.write(block)
            await self._writer.drain()

    async def ended(self) -> bytes:
        """Return all that comes until the API closes the connection."""
        received = b""
        with suppress(ConnectionError):  # it was closed while more was on its way
            while block := await self._reader.read(65_536):
                received += block
        return received

    async def answer(self) -> tuple[int, str]:
        """Return the status and `error` of the only answer, after which the API has closed the connection."""
        head, _, body = (await self.ended()).partition(b"\r\n\r\n")
        assert b"content-type: application/json" in head.lower(), head
        return int(head.split()[1]), json.loads(body)["error"]

    def hang_up(self) -> None:
        self._writer.transport.abort()


@pytest.fixture
async def connections() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def connect(connections: AsyncExitStack, url: str) -> Connection:
    address = httpx.URL(url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    connections.callback(writer.close)
    return Connection(reader, writer)


def closed(registry: CollectorRegistry, error: str) -> float:
    """Return how many connections were closed for this reason."""
    return registry.get_sample_value("inventory_connections_closed_total", {"error": error}) or 0


TOO_LARGE = {
    "one field": [GET + b"X: ", b"x" * 64 * KIB],
    "one field in many pieces": [GET + b"X: ", *[b"x" * KIB] * 64],
    "the name of a field": [GET, b"x" * 64 * KIB],
    "many fields": [GET, *[b"X: y\r\n"] * 4000, b"\r\n"],
    "the address": [b"GET /livez?" + b"x" * 17 * KIB + b" HTTP/1.1\r\nHost: x\r\n\r\n"],
    "just above, and complete": [GET + b"X: " + b"x" * (16 * KIB - 10) + b"\r\n\r\n"],
    "what is beside a chunk of the body": [CHUNKED, b"1;x=", *[b"x" * KIB] * 64],
    "fields behind the body": [CHUNKED, b"1\r\n{\r\n0\r\n", *[b"X: " + b"x" * KIB + b"\r\n"] * 64],
}


@pytest.mark.parametrize("blocks", TOO_LARGE.values(), ids=TOO_LARGE)
async def test_a_header_over_16_kib_is_refused(shared: Stack, connections: AsyncExitStack, blocks: list[bytes]) -> None:
    caller = await connect(connections, shared.url)
    before = closed(shared.api_metrics, "headers_too_large")
    with suppress(ConnectionError):  # refused before the end
        await caller.send(*blocks)
    received = await caller.ended()
    assert received == b"" or received.startswith(b"HTTP/1.1 431 ")  # lost if more was on its way
    assert closed(shared.api_metrics, "headers_too_large") == before + 1


async def test_the_refusal_of_a_header_is_told(shared: Stack, connections: AsyncExitStack) -> None:
    caller = await connect(connections, shared.url)
    await caller.send(GET + b"X: " + b"x" * 17 * KIB + b"\r\n\r\n")
    assert await caller.answer() == (431, "headers_too_large")


async def test_a_header_of_almost_16_kib_and_a_body_of_many_chunks_are_read(
    shared: Stack, connections: AsyncExitStack
) -> None:
    caller = await connect(connections, shared.url)
    head = POST + JSON + b"X: " + b"x" * (15 * KIB) + b"\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    await caller.send(head, *[b"1\r\n \r\n"] * 20_000, b"2\r\n{}\r\n0\r\n\r\n")
    assert await caller.answer() == (422, "invalid_request")


async def test_what_is_not_http_is_answered_in_the_one_shape(shared: Stack, connections: AsyncExitStack) -> None:
    for nonsense in (b"nonsense\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", GET + b"X Y\r\n\r\n"):
        caller = await connect(connections, shared.url)
        await caller.send(nonsense)
        assert await caller.answer() == (400, "invalid_http")


@pytest.mark.parametrize("target", [b"GET http://host", b"GET http://host?x", b"CONNECT host:443"])
async def test_a_target_that_is_no_path_is_refused(shared: Stack, connections: AsyncExitStack, target: bytes) -> None:
    caller = await connect(connections, shared.url)
    await caller.send(target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert await caller.answer() == (400, "invalid_http")


async def test_requests_that_do_not_wait_for_answers_are_limited(shared: Stack, connections: AsyncExitStack) -> None:
    few = await connect(connections, shared.url)
    await few.send((GET + b"\r\n") * (MAX_PIPELINED - 1) + GET + b"Connection: close\r\n\r\n")
    assert (await few.ended()).count(b"HTTP/1.1 200 ") == MAX_PIPELINED
    many = await connect(connections, shared.url)
    before = closed(shared.api_metrics, "invalid_http")
    await many.send((GET + b"\r\n") * 1000)
    assert (await many.ended()).count(b"HTTP/1.1 200 ") < 1000
    assert closed(shared.api_metrics, "invalid_http") == before + 1


INCOMPLETE = {
    "nothing": b"",
    "half a header": GET,
    "half a body": POST + JSON + b"X-Request-ID: mine\r\nContent-Length: 10\r\n\r\n{",
    "nothing but line breaks": b"\r\n\r\n",
    "half a body that nobody reads": f"POST {HOLDS} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{{".encode(),
}
ANSWERS = {
    "half a header": 408,
    "half a body": 408,
    "half a body that nobody reads": 401,
}


async def test_a_request_that_does_not_arrive_in_time_ends_its_connection(
    shared: Stack, connections: AsyncExitStack
) -> None:
    async with neighbour(shared, HOLDFAST_API_HEADER_SECONDS="1", HOLDFAST_API_BODY_SECONDS="1") as api:
        callers = {name: await connect(connections, str(api.base_url)) for name in INCOMPLETE}
        for name, sent in INCOMPLETE.items():
            await callers[name].send(sent)
        for name, caller in callers.items():
            received = await caller.ended()
            assert received[9:12] == (str(ANSWERS[name]).encode() if name in ANSWERS else b""), name
            id_of_request = re.search(rb"\r\nx-request-id: (\S+)\r\n", received)
            assert (id_of_request is not None) == (name in ANSWERS), name
            assert name != "half a body" or (id_of_request and id_of_request[1] == b"mine")


async def test_a_client_that_does_not_read_its_answers_is_disconnected(shared: Stack) -> None:
    registry = CollectorRegistry()
    database = shared.settings.database_url.get_secret_value()
    app = create_app(Settings.read(environment(database, HOLDFAST_API_BODY_SECONDS="1")), registry=registry)
    async with serving(app, http=PROTOCOL, send_buffer=4096) as url:
        with socket.socket() as caller:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            address = httpx.URL(url)
            await asyncio.to_thread(caller.connect, (address.host, address.port))
            caller.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 4)
            await until(lambda: closed(registry, "request_timed_out") == 1, "the client is disconnected")


async def test_silent_connections_make_room_for_those_that_ask(shared: Stack, connections: AsyncExitStack) -> None:
    registry = CollectorRegistry()
    async with neighbour(shared, registry, HOLDFAST_API_CONNECTIONS="10") as api:
        silent = [await connect(connections, str(api.base_url)) for _ in range(40)]
        assert (await api.get("/livez")).status_code == 200
        gone = [asyncio.create_task(caller.ended()) for caller in silent[:30]]
        assert await asyncio.gather(*gone) == [b""] * 30
        assert closed(registry, "too_many_connections") == 31


async def test_a_request_that_is_being_served_keeps_its_connection(shared: Stack, connections: AsyncExitStack) -> None:
    await shared.put(5)
    count = {"shopId": SHOP, "items": [{"sku": "TEE", "onHand": 6}]}
    registry = CollectorRegistry()
    async with neighbour(shared, registry, HOLDFAST_API_CONNECTIONS="10") as api:
        async with locked(shared):
            served = asyncio.create_task(api.put(ITEMS, json=count))
            for _ in range(40):
                await connect(connections, str(api.base_url))
            await until(lambda: closed(registry, "too_many_connections") >= 30, "silent connections are closed")
            assert not served.done()
        assert (await served).status_code == 200


BEARER = f"Authorization: Bearer {ADMIN_TOKEN}\r\n".encode()
CUT = {
    "/api/webhooks/stripe": b"Stripe-Signature: t=1,v1=0\r\n",
    "/api/inventory/validate": BEARER + JSON,
    "/api/inventory/import": BEARER + b"Content-Type: text/csv\r\n",
}


@pytest.mark.parametrize("route", CUT)
async def test_a_caller_that_hangs_up_is_no_error(
    shared: Stack, connections: AsyncExitStack, caplog: pytest.LogCaptureFixture, route: str
) -> None:
    secret = {"STRIPE_WEBHOOK_SECRET": "whsec_test"}
    registry = CollectorRegistry()

    def cut() -> float:
        labels = {"route": route, "method": "POST", "status": "499"}
        return registry.get_sample_value("inventory_request_seconds_count", labels) or 0

    async with neighbour(shared, registry, **secret) as api:
        for _ in range(5):
            caller = await connect(connections, str(api.base_url))
            await caller.send(f"POST {route} HTTP/1.1\r\nHost: x\r\n".encode() + CUT[route])
            await caller.send(b"Content-Length: 100\r\n\r\nhalf of it")
            caller.hang_up()
        await until(lambda: cut() == 5, "all five have hung up")
        assert registry.get_sample_value("inventory_hold_error_total") == 0
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
