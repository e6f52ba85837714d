"""`python -m bench.cost`: what one hold costs Temporal and Postgres, by how it ends and by its lines."""

import asyncio
import json
import tempfile
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median

import psycopg
from temporalio.client import Client, WorkflowExecutionStatus

from bench.connection import Connection, post
from bench.load import ITEMS, SHOP
from bench.stack import Bench, running
from core.settings import MIN_TTL_SECONDS
from core.temporal import connect
from workflows.messages import hold_workflow_id

HOLDS = 500
"""Of each kind, one after another: the costs of concurrent holds cannot be separated."""
_TTL_SECONDS = 1200


@dataclass(frozen=True)
class Kind:
    """Holds with a number of lines and an ending."""

    ending: str
    lines: int


KINDS = (Kind("open", 1), Kind("committed", 1), Kind("released", 1), Kind("expired", 1), Kind("committed", 10))
_WRITTEN = """
SELECT (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()),
       pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint,
       (SELECT count(*) FROM "InventoryHold") + (SELECT count(*) FROM "InventoryHoldItem")
         + (SELECT count(*) FROM "InventoryMovement"),
       pg_total_relation_size('"InventoryHold"') + pg_total_relation_size('"InventoryHoldItem"')
         + pg_total_relation_size('"InventoryMovement"')
"""
_ROUTES = {"committed": "commit", "released": "release"}


@dataclass(frozen=True)
class Written:
    """Counters of Postgres; subtract two for the cost of what ran in between."""

    transactions: int
    wal_bytes: int
    rows: int
    table_bytes: int


class Costs:
    """Creates holds of a kind and measures their cost."""

    def __init__(self, bench: Bench, client: Client) -> None:
        self._bench = bench
        self._client = client
        self._numbers = count()
        self._run = time.time_ns()

    async def row(self, kind: Kind) -> str:
        """Make the holds and return what one costs, as a row of the table."""
        before = self._written()
        connection = await Connection.open(self._bench.product.port)
        holds = [await self._live(connection, kind) for _ in range(HOLDS)]
        connection.close()
        histories = [await self._history(hold, ended=kind.ending != "open") for hold in holds]
        after = self._written()
        events, history_bytes, transitions = (median(each) for each in zip(*histories, strict=True))
        transactions, wal, rows, tables = (
            (getattr(after, name) - getattr(before, name)) / HOLDS
            for name in ("transactions", "wal_bytes", "rows", "table_bytes")
        )
        return (
            f"| {kind.ending} | {kind.lines} | {transitions:.0f} | {events:.0f} | {history_bytes / 1024:.1f} "
            f"| {transactions:.0f} | {wal / 1024:.1f} | {rows:.0f} | {tables / 1024:.1f} |"
        )

    async def _live(self, connection: Connection, kind: Kind) -> str:
        ttl = MIN_TTL_SECONDS if kind.ending == "expired" else _TTL_SECONDS
        first = next(self._numbers) * kind.lines
        items = [{"sku": f"SKU-{(first + n) % ITEMS:04}", "quantity": 1} for n in range(kind.lines)]
        made = await self._ask(connection, "", {"shopId": SHOP, "items": items, "ttlSeconds": ttl})
        hold_id = str(made["holdId"])
        if kind.ending in _ROUTES:
            await self._ask(connection, f"/{SHOP}/{hold_id}/{_ROUTES[kind.ending]}", {})
        return hold_id

    async def _ask(self, connection: Connection, path: str, body: object) -> dict[str, object]:
        key = f"Idempotency-Key: {self._run}-{next(self._numbers)}\r\n"
        headers = f"Authorization: Bearer {self._bench.product.token}\r\n{key}"
        status, answer = await connection.ask(post(f"/api/inventory/holds{path}", json.dumps(body).encode(), headers))
        if status not in (200, 201):
            raise RuntimeError(f"{path or 'create'} was answered {status}: {answer.decode()}")
        told: dict[str, object] = json.loads(answer)
        return told

    async def _history(self, hold_id: str, *, ended: bool) -> tuple[int, int, int]:
        """Return the events, the bytes of history and the state transitions of a hold's run."""
        handle = self._client.get_workflow_handle(hold_workflow_id(SHOP, hold_id))
        if ended:
            await handle.result()
        told = await handle.describe()
        assert (told.status is WorkflowExecutionStatus.RUNNING) is not ended
        info = told.raw_description.workflow_execution_info
        return info.history_length, info.history_size_bytes, info.state_transition_count

    def _written(self) -> Written:
        with psycopg.connect(self._bench.database_url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")  # so that each kind writes the same full-page images
            row = connection.execute(_WRITTEN).fetchone()
        assert row is not None
        return Written(*row)


async def compare(bench: Bench) -> None:
    """Measure every kind and print the table."""
    client = await connect(None, environment={"TEMPORAL_ADDRESS": bench.temporal.address})
    costs = Costs(bench, client)
    print("| hold | lines | transitions | events | history KiB | transactions | WAL KiB | rows | tables KiB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for kind in KINDS:
        print(await costs.row(kind), flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
        Path(folder).chmod(0o755)
        with running(Path(folder)) as (bench, _):
            asyncio.run(compare(bench))


if __name__ == "__main__":
    main()
