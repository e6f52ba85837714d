"""`python -m bench.growth`: the cost of create, commit and list with a million ended holds, compared with none."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psycopg
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.migrate import migrate
from core.database import create_engine, fetch
from core.settings import Settings
from dev.harness.stock import SHOP, end, put_item, request
from dev.postgres import EmbeddedPostgres
from domain.holds import HoldStatus
from inventory.hold_search import find_holds
from inventory.reserve import reserve

ENDED = 1_000_000
ROUNDS, EACH = 30, 40

_FILL = """
INSERT INTO "InventoryHold" (id, "shopId", status, "expiresAt", "createdAt", "committedAt", "releasedAt", reference)
SELECT 'ended-' || n, %(shop)s, CASE WHEN n %% 2 = 0 THEN 'committed' ELSE 'released' END,
       at + interval '20 minutes', at, CASE WHEN n %% 2 = 0 THEN at END, CASE WHEN n %% 2 = 1 THEN at END, 'order-' || n
FROM (SELECT n, now() - interval '1 day' - n * interval '7 seconds' AS at FROM generate_series(1, %(holds)s) n) h
"""
_LINES = """
INSERT INTO "InventoryHoldItem" ("holdId", "shopId", sku, quantity)
SELECT 'ended-' || n, %(shop)s, 'SKU-' || n %% 1000, 1 FROM generate_series(1, %(holds)s) n
"""


async def measured(engine: AsyncEngine, name: str, turn: int) -> dict[str, list[float]]:
    """Return the seconds of each create, commit and list of one turn."""
    taken: dict[str, list[float]] = {"create": [], "commit": [], "list": []}

    async def timed(what: str, work: Callable[[], Awaitable[object]]) -> None:
        began = time.perf_counter()
        await work()
        taken[what].append(time.perf_counter() - began)

    for number in range(EACH):
        hold = f"{name}-{turn}-{number}"
        await timed("create", lambda hold=hold: reserve(engine, request(hold, ("SKU-1", 1))))  # type: ignore[misc]
        await timed("commit", lambda hold=hold: end(engine, hold, HoldStatus.COMMITTED))  # type: ignore[misc]
        await timed("list", lambda: find_holds(engine, SHOP, limit=100))
    return taken


async def compare(empty: str, grown: str) -> None:
    """Measure both alternately and print medians and their ratio."""
    engines = {
        name: create_engine(Settings.read({"DATABASE_URL": url})) for name, url in (("empty", empty), ("grown", grown))
    }
    for engine in engines.values():
        await put_item(engine, "SKU-1", ROUNDS * EACH * 2)
        await measured(engine, "warm-up", 0)
        await measured(engine, "warm-up", 1)
        await fetch(engine, "ANALYZE", {})  # as autovacuum does after a while, so that both have current statistics
    medians: dict[str, dict[str, list[float]]] = {}
    for turn in range(ROUNDS):
        for name, engine in engines.items():
            for what, seconds in (await measured(engine, "turn", turn)).items():
                medians.setdefault(what, {}).setdefault(name, []).append(statistics.median(seconds))
    print(f"{'':8} {'no ended holds':>16} {f'{ENDED:,} of them':>20} {'ratio':>7}")
    for what, by in medians.items():
        none, many = (statistics.median(by[name]) * 1000 for name in ("empty", "grown"))
        print(f"{what:8} {none:13.2f} ms {many:17.2f} ms {many / none:7.2f}")
    for engine in engines.values():
        await engine.dispose()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="holdfast-growth-") as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedPostgres(Path(folder) / "postgres", settings={"max_wal_size": "4GB"})
        server.start()
        try:
            for name in ("empty", "grown"):
                with psycopg.connect(server.url, autocommit=True) as connection:
                    connection.execute(f"CREATE DATABASE {name}".encode())
                migrate(server.database_url(name))
            with psycopg.connect(server.database_url("grown"), autocommit=True) as connection:
                for statement in (_FILL, _LINES):
                    connection.execute(statement.encode(), {"shop": SHOP, "holds": ENDED})
                connection.execute("VACUUM ANALYZE")
            asyncio.run(compare(server.database_url("empty"), server.database_url("grown")))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
