"""An HTTP server on bare sockets, which answers each request as a test says: late, in part, wrongly, or not at all."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

SHOP, HOLD_ID = "shop-1", "h-1"
LINE = {"sku": "TEE", "variantKey": "", "quantity": 1}


@dataclass(frozen=True)
class ReceivedRequest:
    target: str
    headers: dict[str, str]
    """By lower-case name."""
    body: Any
    """Parsed JSON."""
    at: float
    """When it had arrived, on the monotonic clock."""


Reaction = Callable[[ReceivedRequest, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class FaultyServer:
    """Reacts to each request with the next of `reactions`, and with the last one to all further requests."""

    url: str = ""
    reactions: list[Reaction] = field(default_factory=list)
    requests: list[ReceivedRequest] = field(default_factory=list)

    def react(self, *reactions: Reaction) -> None:
        self.reactions = list(reactions)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until the client closes it."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                request = await _read(reader)
                self.requests.append(request)
                reaction = self.reactions.pop(0) if len(self.reactions) > 1 else self.reactions[0]
                await reaction(request, writer)
                await writer.drain()


async def _read(reader: asyncio.StreamReader) -> ReceivedRequest:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return ReceivedRequest(first.split()[1], headers, json.loads(body) if body else None, time.monotonic())


@asynccontextmanager
async def faulty_server(tls: ssl.SSLContext | None = None) -> AsyncIterator[FaultyServer]:
    faulty = FaultyServer()
    connections: set[asyncio.Task[None]] = set()
    writers: set[asyncio.StreamWriter] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        connections.add(asyncio.ensure_future(faulty.serve(reader, writer)))

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    faulty.url = f"{'https' if tls else 'http'}://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    yield faulty
    listener.close()
    for connection in connections:
        connection.cancel()
    await asyncio.gather(*connections, return_exceptions=True)
    for writer in writers:
        writer.transport.abort()
    await asyncio.sleep(0)  # one turn of the event loop, in which the transports close


def response_bytes(status: int, body: Any = b"", **headers: str) -> bytes:
    """Return a complete response; a body that is not bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Content-Length": str(len(content)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + content


def respond(status: int, body: Any = b"", **headers: str) -> Reaction:
    return send(response_bytes(status, body, **headers))


def send(content: bytes) -> Reaction:
    """Send these bytes and keep the connection open."""

    async def reaction(_request: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(content)

    return reaction


def send_and_close(content: bytes) -> Reaction:
    async def reaction(_request: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()
        writer.close()
        raise ConnectionError

    return reaction


def send_slowly(content: bytes, seconds: float) -> Reaction:
    """Send one byte each `seconds`."""

    async def reaction(_request: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        for byte in content:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(seconds)

    return reaction


async def create_hold(request: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
    """Answer a create as Holdfast does."""
    writer.write(response_bytes(201, hold_json(holdId=request.body.get("holdId", HOLD_ID))))


async def never_respond(_request: ReceivedRequest, _writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def reset_connection(_request: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    raise ConnectionError


def hold_json(**fields: Any) -> dict[str, Any]:
    """Return an active hold of one TEE."""
    return {
        "holdId": HOLD_ID,
        "shopId": SHOP,
        "status": "active",
        "expiresAt": "2026-11-22T12:20:00.123456Z",
        "createdAt": "2026-11-22T12:00:00Z",
        "items": [LINE],
        "reference": None,
        **fields,
    }


def error_json(error: str, **fields: Any) -> dict[str, Any]:
    return {"error": error, "message": f"It is {error}.", **fields}
