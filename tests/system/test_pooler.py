"""The product behind a real PgBouncer in transaction mode, where each transaction may be in another session."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from temporalio.client import Client

from cli.doctor.database import check_database
from cli.doctor.results import State
from cli.migrate import MigrationError, migrate
from core.database import PoolerUnknownError, create_engine, fetch
from core.settings import Settings
from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import end, is_new, put_item, request
from dev.ports import free_port
from dev.postgres import EmbeddedPostgres
from dev.processes import Child
from domain.holds import HoldStatus
from inventory.reserve import reserve
from inventory.stock_file import COLUMNS
from tests.api.asking import HEALTH, locked, neighbour
from tests.stack import Stack, running_stack

POOLER = {"INVENTORY_DATABASE_POOLER": "1"}
_START_SECONDS = 60.0


@pytest.fixture(scope="module")
def pooler(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a PgBouncer that has three sessions for each database, and drops start-up options."""
    folder, port = tmp_path_factory.mktemp("pgbouncer"), free_port()
    program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    file = folder / "pgbouncer.ini"
    file.write_text(f"""
[databases]
* = host=127.0.0.1 port={postgres.port} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
max_client_conn = 500
ignore_startup_parameters = options, extra_float_digits
""")
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    server = Child("PgBouncer", [program, *user, str(file)], log=folder / "pgbouncer.log")
    server.start()
    server.wait_until(lambda: _answers(port), _START_SECONDS)
    yield port
    server.stop()


def _answers(port: int) -> bool:
    try:
        psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres", connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture
def pooled(database: str, postgres: EmbeddedPostgres, pooler: int) -> str:
    """The URL of the database at the pooler."""
    return database.replace(f":{postgres.port}/", f":{pooler}/")


@pytest.fixture
async def stack(pooled: str, temporal: Client) -> AsyncIterator[Stack]:
    """The product behind the pooler."""
    async with running_stack(pooled, temporal, INVENTORY_DATABASE_POOLER="1") as running:
        yield running


async def test_a_hundred_reserves_at_once_behind_a_pooler_sell_what_is_there(pooled: str) -> None:
    patient = {"INVENTORY_LOCK_TIMEOUT_MS": "4000"}
    engine = create_engine(Settings.read({"DATABASE_URL": pooled, **POOLER, **patient}), pool_size=16)
    await put_item(engine, "mug", 60)
    outcomes = await asyncio.gather(*(reserve(engine, request(f"h{n}", ("mug", 1))) for n in range(100)))
    assert sum(map(is_new, outcomes)) == 60
    settled = await asyncio.gather(*(end(engine, f"h{n}", HoldStatus.COMMITTED) for n in range(100)))
    assert sum(each is not None and each.changed for each in settled) == 60
    await assert_stock_adds_up(engine)
    await engine.dispose()


async def test_a_hold_is_made_and_sold_behind_a_pooler(stack: Stack) -> None:
    await stack.put(1)
    hold = await stack.made()
    assert (await stack.create()).status_code == 409
    assert (await stack.post(hold["holdId"], "commit")).status_code == 200
    assert await stack.stock_of() == (0, 0)


async def test_a_locked_item_is_busy_behind_a_pooler_too(stack: Stack) -> None:
    await stack.put(1)
    async with locked(stack), neighbour(stack, INVENTORY_LOCK_TIMEOUT_MS="100", INVENTORY_DATABASE_POOLER="1") as http:
        body = {"shopId": "shop-1", "items": [{"sku": "TEE", "onHand": 2}]}
        answer = await http.put("/api/inventory/items", json=body)
    assert (answer.status_code, answer.json()["error"]) == (429, "inventory_busy")


async def test_each_transaction_has_its_settings_and_leaves_none_to_others(pooled: str) -> None:
    names = ("lock_timeout", "statement_timeout", "DateStyle", "TimeZone", "holdfast.events")
    query = "SELECT " + ", ".join(f"current_setting('{name}', true) AS \"{name}\"" for name in names)
    settings = {"HOLD_EVENTS_WEBHOOK_URL": "http://127.0.0.1:9", "HOLD_EVENTS_WEBHOOK_SECRET": "A" * 40}
    engine = create_engine(Settings.read({"DATABASE_URL": pooled, **POOLER, **settings}))
    rows = await asyncio.gather(*(fetch(engine, query, {}) for _ in range(20)))
    assert {tuple(row.values()) for [row] in rows} == {("2s", "3s", "ISO, MDY", "UTC", "on")}
    await engine.dispose()
    async with await psycopg.AsyncConnection.connect(pooled) as other:
        assert await (await other.execute("SHOW lock_timeout")).fetchone() == ("0",)


async def test_a_stock_file_is_imported_behind_a_pooler(stack: Stack) -> None:
    rows = "".join(f"shop-1,ITEM-{number},,,{number},\n" for number in range(1, 2001))
    for result in ("created", "unchanged"):
        answer = await stack.http.post(
            "/api/inventory/import",
            content=f"{','.join(COLUMNS)}\n{rows}".encode(),
            headers={"Content-Type": "text/csv"},
        )
        assert answer.status_code == 200, answer.text
        assert answer.text.count(f'"result" : "{result}"') == 2000
    assert await stack.stock_of("ITEM-7") == (7, 0)


async def test_a_pooler_that_the_settings_do_not_name_is_named_by_the_api_and_the_doctor(
    stack: Stack, pooled: str
) -> None:
    engine = create_engine(Settings.read({"DATABASE_URL": pooled}))
    with pytest.raises(PoolerUnknownError, match="INVENTORY_DATABASE_POOLER=1"):
        await fetch(engine, "SELECT 1", {})
    await engine.dispose()
    async with neighbour(stack) as http:
        answer = await http.get(HEALTH)
    check = answer.json()["checks"]["database"]
    assert (answer.status_code, check["reason"]) == (503, "pooler_unknown")
    faults = [line for line in await check_database(Settings.read({"DATABASE_URL": pooled}), 2) if line.fix]
    assert [line.name for line in faults] == ["time-outs"]
    assert "INVENTORY_DATABASE_POOLER=1" in str(faults[0].fix)
    assert all(
        line.state is not State.FAULT
        for line in await check_database(Settings.read({"DATABASE_URL": pooled, **POOLER}), 500)
    )


async def test_a_pooler_shows_even_where_the_role_has_the_time_outs_of_its_own(
    pooled: str, database: str, postgres: EmbeddedPostgres
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "ALTER ROLE postgres SET lock_timeout = '2s'; ALTER ROLE postgres SET statement_timeout = '3s'"
        )
    try:
        with psycopg.connect(database, autocommit=True) as connection:  # so that the pooler opens new sessions
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        with psycopg.connect(pooled, autocommit=True) as connection:
            assert connection.execute("SHOW lock_timeout").fetchone() == ("2s",)
        engine = create_engine(Settings.read({"DATABASE_URL": pooled}))
        with pytest.raises(PoolerUnknownError):
            await fetch(engine, "SELECT 1", {})
        await engine.dispose()
        assert [line.name for line in await check_database(Settings.read({"DATABASE_URL": pooled}), 2) if line.fix] == [
            "time-outs"
        ]
        with pytest.raises(MigrationError, match="Postgres itself"):
            migrate(pooled)
    finally:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute("ALTER ROLE postgres RESET ALL")


def test_a_migration_through_a_pooler_is_refused(pooled: str) -> None:
    with pytest.raises(MigrationError, match="Postgres itself"):
        migrate(pooled)
