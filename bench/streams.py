"""`python -m bench.streams`: memory and CPU of one API process that thousands of browsers follow holds on."""

import asyncio
import os
import secrets
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg

from api.hold_token import hold_token
from bench.stack import stock_shop
from bench.usage import cpu_seconds, memory
from cli.migrate import migrate
from core.database import create_engine
from core.settings import Settings
from dev.harness.stock import SHOP, put_item, request
from dev.ports import free_port
from dev.postgres import EmbeddedPostgres
from dev.processes import Child
from domain.holds import HoldKey
from inventory.reserve import reserve

STREAMS, CHANGES_A_SECOND, SECONDS = 5_000, 100, 20

_OPEN: list[asyncio.StreamWriter] = []
"""A writer that is collected closes its connection."""


@dataclass(frozen=True)
class Streams:
    """What the streams of one process cost."""

    streams: int
    kib_each: float
    """Unique memory of the process for each stream."""
    cpu_at_rest: float
    """Of one core, with nothing but heartbeats and one read a second."""
    cpu_changing: float
    """The same while CHANGES_A_SECOND holds change."""
    delay_p50: float
    """Seconds from a change to its arrival."""
    delay_p95: float


def measure(*, quick: bool = False) -> Streams:
    """Run Postgres and one API process, and follow as many holds."""
    with tempfile.TemporaryDirectory(prefix="holdfast-streams-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        postgres = EmbeddedPostgres(folder / "postgres")
        stack.callback(postgres.stop)
        postgres.start()
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE holdfast")
        migrate(postgres.database_url("holdfast"))
        port = free_port()
        env = os.environ | {
            "DATABASE_URL": postgres.database_url("holdfast"),
            "INVENTORY_AUTHORITY_TOKEN": secrets.token_hex(32),
            "HOLDFAST_BROWSER_TOKEN_SECRET": secrets.token_hex(32),
            "HOLDFAST_API_CONNECTIONS": str(3 * STREAMS),
            "TEMPORAL_ADDRESS": f"127.0.0.1:{free_port()}",  # no route of the browser's reads needs it
        }
        settings = Settings.read(env)
        stock_shop(settings)
        api = Child(
            "api", [sys.executable, "-m", "cli.main", "api", "--port", str(port)], log=folder / "api.log", env=env
        )
        stack.callback(api.stop)
        api.start()
        return asyncio.run(_measure(settings, api, port, STREAMS // 10 if quick else STREAMS))


async def _measure(settings: Settings, api: Child, port: int, count: int) -> Streams:
    engine = create_engine(settings)
    await put_item(engine, "TEE", count)
    holds = [f"h-{number}" for number in range(count)]
    for hold in holds:
        await reserve(engine, request(hold, ("TEE", 1)))
    arrived: dict[str, float] = {}
    await _listening(port)
    before = memory(api.pid).unique
    followers = []
    for start in range(0, count, 100):
        opened = await asyncio.gather(*(_open(settings, port, hold) for hold in holds[start : start + 100]))
        followers += [asyncio.create_task(_follow(hold, reader, arrived)) for hold, reader in opened]
    await asyncio.sleep(2)
    kib = (memory(api.pid).unique - before) * 1024 / count
    at_rest = await _cpu(api.pid)
    changed: dict[str, float] = {}
    changing = asyncio.create_task(_change(settings, holds, changed))
    cpu_changing = await _cpu(api.pid)
    await changing
    await asyncio.sleep(3)
    delays = sorted(arrived[hold] - at for hold, at in changed.items())
    for follower in followers:
        follower.cancel()
    await engine.dispose()
    return Streams(count, kib, at_rest, cpu_changing, statistics.median(delays), delays[int(len(delays) * 0.95)])


async def _listening(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return


async def _open(settings: Settings, port: int, hold: str) -> tuple[str, asyncio.StreamReader]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    token = hold_token(settings.browser_token_secrets, HoldKey(SHOP, hold))
    writer.write(f"GET /api/browser/holds/{SHOP}/{hold}/events?token={token} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    while b'"status":"active"' not in await reader.readline():
        pass
    _OPEN.append(writer)
    return hold, reader


async def _follow(hold: str, reader: asyncio.StreamReader, arrived: dict[str, float]) -> None:
    while line := await reader.readline():
        if line.startswith(b"data:"):
            arrived[hold] = time.monotonic()


async def _cpu(pid: int) -> float:
    before = cpu_seconds(pid)
    await asyncio.sleep(SECONDS)
    return (cpu_seconds(pid) - before) / SECONDS


async def _change(settings: Settings, holds: list[str], changed: dict[str, float]) -> None:
    statement = """UPDATE "InventoryHold" SET "updatedAt" = clock_timestamp() WHERE "shopId" = %s AND id = %s"""
    url = settings.database_url.get_secret_value()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for number in range(min(len(holds), CHANGES_A_SECOND * SECONDS)):
            await connection.execute(statement, (SHOP, holds[number]))
            changed[holds[number]] = time.monotonic()
            await asyncio.sleep(1 / CHANGES_A_SECOND)


def lines(result: Streams) -> list[str]:
    """Return the section of the report."""
    return [
        f"One API process, {result.streams:,} streams, each of a hold of its own.",
        "",
        "|  | measured |",
        "| --- | ---: |",
        f"| memory for each stream, KiB | {result.kib_each:.0f} |",
        f"| CPU at rest, of a core | {result.cpu_at_rest:.2f} |",
        f"| CPU while {CHANGES_A_SECOND} holds a second change | {result.cpu_changing:.2f} |",
        f"| from a change to its arrival p50 / p95 s | {result.delay_p50:.2f} / {result.delay_p95:.2f} |",
    ]


if __name__ == "__main__":
    print("\n".join(lines(measure(quick="--quick" in sys.argv))))
