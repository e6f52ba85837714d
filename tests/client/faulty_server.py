"""A server of bare bytes: it answers each request as it is told to, late, in part, wrongly, or not at all."""

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
class Asked:
    """A request as it came."""

    target: str
    headers: dict[str, str]
    body: Any
    at: float


Deed = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Liar:
    """Does with each request the next of `deeds`; the last of them with all further ones."""

    url: str = ""
    deeds: list[Deed] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def will(self, *deeds: Deed) -> None:
        """Say what becomes of the next requests."""
        self.deeds = list(deeds)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection until it is gone."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                asked = await _read(reader)
                self.asked.append(asked)
                deed = self.deeds.pop(0) if len(self.deeds) > 1 else self.deeds[0]
                await deed(asked, writer)
                await writer.drain()


async def _read(reader: asyncio.StreamReader) -> Asked:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(first.split()[1], headers, json.loads(body) if body else None, time.monotonic())


@asynccontextmanager
async def lying(tls: ssl.SSLContext | None = None) -> AsyncIterator[Liar]:
    """Run one."""
    liar = Liar()
    connections: set[asyncio.Task[None]] = set()
    writers: set[asyncio.StreamWriter] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        connections.add(asyncio.ensure_future(liar.serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    liar.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield liar
    server.close()
    for connection in connections:
        connection.cancel()
    await asyncio.gather(*connections, return_exceptions=True)
    for writer in writers:
        writer.transport.abort()
    await asyncio.sleep(0)  # in which the transports close


def wire(status: int, body: Any = b"", **headers: str) -> bytes:
    """Return an answer's bytes; a body that is not bytes goes as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Content-Length": str(len(content)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + content


def says(status: int, body: Any = b"", **headers: str) -> Deed:
    """Answer so."""
    return sends(wire(status, body, **headers))


def sends(answer: bytes) -> Deed:
    """Send these bytes."""

    async def deed(_asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    return deed


def cuts(answer: bytes) -> Deed:
    """Send these bytes and close."""

    async def deed(_asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()
        raise ConnectionError

    return deed


def drips(answer: bytes, each: float) -> Deed:
    """Send these bytes one by one, with so many seconds between them."""

    async def deed(_asked: Asked, writer: asyncio.StreamWriter) -> None:
        for byte in answer:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(each)

    return deed


async def holds(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Answer a create as Holdfast would."""
    writer.write(wire(201, a_hold(holdId=asked.body.get("holdId", HOLD_ID))))


async def hangs(_asked: Asked, _writer: asyncio.StreamWriter) -> None:
    """Answer nothing, ever."""
    await asyncio.Event().wait()


async def resets(_asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Break the connection off."""
    writer.transport.abort()
    raise ConnectionError


def a_hold(**fields: Any) -> dict[str, Any]:
    """Return an active hold of one TEE, in JSON."""
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


def a_refusal(error: str, **fields: Any) -> dict[str, Any]:
    """Return an error in Holdfast's one shape."""
    return {"error": error, "message": f"It is {error}.", **fields}
