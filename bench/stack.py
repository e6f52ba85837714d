"""The processes of a measurement: Postgres, Temporal, API and worker of product and floor, and the load."""

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

import psycopg

from bench.load import ITEMS, SHOP, Job, Result
from bench.shop_data import fill
from cli.migrate import migrate
from core.database import create_engine
from core.settings import Settings
from dev.ports import free_port
from dev.postgres import EmbeddedPostgres
from dev.processes import Child
from dev.temporal import EmbeddedTemporal
from inventory.counts import ItemCount, count_items

_PLENTY = 1_000_000
_READY_SECONDS = 60.0
WEBHOOK_SECRET = "whsec_" + secrets.token_hex(16)


class App:
    """An API process and a worker process."""

    def __init__(
        self,
        name: str,
        api: list[str],
        worker: list[str],
        env: Mapping[str, str],
        *,
        folder: Path,
        checkout: Path | None = None,
    ) -> None:
        self.name = name
        self.api_command, self.worker_command = api, worker
        self.token = env.get("INVENTORY_AUTHORITY_TOKEN", "")
        self.port = free_port()
        self.env = env
        self.worker_log = folder / f"{name}-worker.log"
        python = [sys.executable, "-m"]
        api = [part.replace("PORT", str(self.port)) for part in api]
        self.api = Child(f"{name} api", [*python, *api], log=folder / f"{name}-api.log", env=env, cwd=checkout)
        self.worker = Child(f"{name} worker", [*python, *worker], log=self.worker_log, env=env, cwd=checkout)

    def start(self) -> None:
        for child in (self.api, self.worker):
            child.start()
        self.api.wait_until(self._listens, _READY_SECONDS)
        self.worker.wait_until(lambda: "worker polls" in self.worker.output(), _READY_SECONDS)

    def stop(self) -> None:
        for child in (self.api, self.worker):
            child.ask_to_stop()
        for child in (self.api, self.worker):
            child.stop()

    def _listens(self) -> bool:
        async def connect() -> None:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.close()

        try:
            asyncio.run(connect())
        except OSError:
            return False
        return True


class Load:
    """The load generator's process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, job: Job) -> Result:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(job)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the load generator ended")
        return Result(**json.loads(line))

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


class Bench:
    """All processes. Create it with `running`."""

    def __init__(self, folder: Path, changes: Mapping[str, str], temporal_flags: Sequence[str]) -> None:
        self.postgres = EmbeddedPostgres(folder / "postgres", settings={"autovacuum_naptime": "10s"})
        self.temporal = EmbeddedTemporal(folder / "temporal", flags=temporal_flags)
        self.database_url = self.postgres.database_url("holdfast")
        env = {name: value for name, value in os.environ.items() if not name.startswith(("TEMPORAL_", "INVENTORY_"))}
        env |= {
            "DATABASE_URL": self.database_url,
            "INVENTORY_MODE": "reserve_ttl",
            "INVENTORY_AUTHORITY_TOKEN": secrets.token_hex(32),
            "HOLDFAST_LOG_FORMAT": "json",
            "HOLDFAST_WORKER_METRICS_PORT": str(free_port()),
            "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "TEMPORAL_ADDRESS": self.temporal.address,
            "TEMPORAL_CONFIG_FILE": os.devnull,
            **changes,
        }
        self.product = App("product", ["cli.main", "api", "--port", "PORT"], ["worker"], env, folder=folder)
        self.floor = App("floor", ["bench.floor", "api", "PORT"], ["bench.floor", "worker"], env, folder=folder)
        self.settings = Settings.read(env)

    def pids(self, app: App) -> dict[str, int]:
        return {
            "postgres": self.postgres.pid,
            "temporal": self.temporal.pid,
            "api": app.api.pid,
            "worker": app.worker.pid,
        }

    def create_database(self) -> None:
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE holdfast")
        migrate(self.database_url)
        fill(self.database_url)

    def audit(self) -> int:
        """Return how many items differ: held from active lines, or on hand from the sum of movements."""
        with psycopg.connect(self.database_url) as connection:
            row = connection.execute(_AUDIT, {"shop": SHOP}).fetchone()
        assert row is not None
        return int(row[0])


def stock_shop(settings: Settings, shop: str = SHOP) -> None:
    """Put a large count of every item into the shop of the load, or another one."""

    async def stock() -> None:
        engine = create_engine(settings)
        counts = [ItemCount(f"SKU-{number:04}", "", _PLENTY) for number in range(ITEMS)]
        await count_items(engine, shop, counts, actor="bench")
        await engine.dispose()

    asyncio.run(stock())


_AUDIT = """
SELECT count(*) FROM "InventoryItem" i
WHERE "shopId" = %(shop)s AND (
  held <> (SELECT coalesce(sum(l.quantity), 0) FROM "InventoryHoldItem" l
           JOIN "InventoryHold" h ON h."shopId" = l."shopId" AND h.id = l."holdId" AND h.status = 'active'
           WHERE l."shopId" = i."shopId" AND l.sku = i.sku AND l."variantKey" = i."variantKey")
  OR quantity + held <> (SELECT sum(m.delta) FROM "InventoryMovement" m
           WHERE m."shopId" = i."shopId" AND m.sku = i.sku AND m."variantKey" = i."variantKey"))
"""


@contextmanager
def running(
    folder: Path,
    changes: Mapping[str, str] = MappingProxyType({}),
    temporal_flags: Sequence[str] = (),
    *,
    floor: bool = True,
) -> Iterator[tuple[Bench, Load]]:
    """Run all processes on the folder until the block ends; the floor's only if wanted.

    `changes` are environment variables of the product, `temporal_flags` more flags of the server.
    """
    with ExitStack() as stack:
        bench = Bench(folder, changes, temporal_flags)
        for server in (bench.postgres, bench.temporal):
            stack.callback(server.stop)
            server.start()
        bench.create_database()
        for app in (bench.product, bench.floor) if floor else (bench.product,):
            stack.callback(app.stop)
            app.start()
        load = Load()
        stack.callback(load.close)
        yield bench, load
