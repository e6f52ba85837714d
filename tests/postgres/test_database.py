"""The way to Postgres: its limits, and what happens when it goes and comes back."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import DatabaseBusyError, DatabaseUnavailableError, create_engine, fetch, fetch_on
from core.database_session import is_read_only
from core.settings import Settings
from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import SHOP, end, is_new, put_item, request, until_waiting
from dev.postgres import EmbeddedPostgres
from domain.holds import HoldStatus
from inventory.holds import read_hold
from inventory.reserve import reserve
from tests.waiting import until

_CUT_WAITING = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
_OTHERS = """
SELECT count(*) AS others FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'holdfast' AND pid <> pg_backend_pid()
"""


async def test_every_connection_has_the_limits(engine: AsyncEngine) -> None:
    names = ("lock_timeout", "statement_timeout", "plan_cache_mode", "TimeZone", "application_name")
    [row] = await fetch(engine, "SELECT " + ", ".join(f"current_setting('{name}') AS {name}" for name in names), {})
    assert list(row.values()) == ["2s", "3s", "force_generic_plan", "UTC", "holdfast"]


async def test_options_of_the_url_stay(tables: str) -> None:
    url = f"{tables}?options=-c%20work_mem%3D5MB&application_name=shop"
    engine = create_engine(Settings.read({"DATABASE_URL": url}))
    [row] = await fetch(
        engine,
        "SELECT current_setting('work_mem') AS m, current_setting('lock_timeout') AS l,"
        " current_setting('application_name') AS a",
        {},
    )
    await engine.dispose()
    assert list(row.values()) == ["5MB", "2s", "shop"]


async def test_behind_a_pooler_a_statement_is_sent_as_one_message(tables: str, tmp_path: Path) -> None:
    """Of several messages the last may reach PgBouncer after the transaction's end, and take a session for nothing."""
    engine = create_engine(Settings.read({"DATABASE_URL": tables, "INVENTORY_DATABASE_POOLER": "1"}), pool_size=1)
    pooled = await engine.raw_connection()
    connection = pooled.driver_connection
    assert isinstance(connection, psycopg.AsyncConnection)
    pooled.close()
    with (tmp_path / "messages").open("w") as file:
        connection.pgconn.trace(file.fileno())
        text = "it's 100 %, a\\b; %(text)s"
        [row] = await fetch(engine, "SELECT %(text)s AS text, %(several)s AS several", {"text": text, "several": [1]})
        connection.pgconn.untrace()
    await engine.dispose()
    assert row == {"text": text, "several": [1]}
    messages = [line.split("\t") for line in (tmp_path / "messages").read_text().splitlines()]
    assert [message[3] for message in messages if message[1:2] == ["F"]] == ["Query"]


@pytest.mark.parametrize(
    "time",
    [
        "2026-01-01T12:00:00+23:59:59.999999",
        "2026-01-01T12:00:00-23:59",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
    ],
)
async def test_a_time_of_any_offset_is_the_same_behind_a_pooler(tables: str, time: str) -> None:
    engine = create_engine(Settings.read({"DATABASE_URL": tables, "INVENTORY_DATABASE_POOLER": "1"}))
    given = datetime.fromisoformat(time)
    [row] = await fetch(engine, "SELECT %(given)s AS given, %(many)s AS many", {"given": given, "many": [given]})
    await engine.dispose()
    assert row["many"] == [row["given"]]
    assert abs(row["given"] - given) < timedelta(hours=14, seconds=1)
    assert row["given"] == given or given.year in (1, 9999)


async def test_a_statement_that_takes_too_long_is_busy(hurried: AsyncEngine) -> None:
    with pytest.raises(DatabaseBusyError, match="57014"):
        await fetch(hurried, "SELECT pg_sleep(30)", {})
    assert (await fetch(hurried, "SELECT 1 AS one", {}))[0]["one"] == 1


async def test_no_free_connection_is_busy(tables: str) -> None:
    engine = create_engine(Settings.read({"DATABASE_URL": tables, "INVENTORY_LOCK_TIMEOUT_MS": "100"}), pool_size=1)
    async with engine.connect():
        with pytest.raises(DatabaseBusyError, match="every connection"):
            await fetch(engine, "SELECT 1", {})
    await engine.dispose()


async def test_a_cancelled_call_leaves_its_connection_usable(tables: str) -> None:
    engine = create_engine(Settings.read({"DATABASE_URL": tables}), pool_size=1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await fetch(engine, "SELECT pg_sleep(1)", {})
    assert (await fetch(engine, "SELECT 1 AS one", {}))[0]["one"] == 1
    await engine.dispose()


async def test_behind_a_pooler_a_cancelled_call_keeps_no_session(tables: str, engine: AsyncEngine) -> None:
    pooled = create_engine(Settings.read({"DATABASE_URL": tables, "INVENTORY_DATABASE_POOLER": "1"}), pool_size=1)
    await fetch(pooled, "SELECT 1", {})  # connects: the time-out is for the statement alone
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await fetch(pooled, "SELECT pg_sleep(1)", {})

    async def is_gone() -> bool:
        return bool((await fetch(engine, _OTHERS, {}))[0]["others"] == 0)

    await until(is_gone, "the session has ended")
    assert (await fetch(pooled, "SELECT 1 AS one", {}))[0]["one"] == 1
    await pooled.dispose()


async def test_the_next_call_works_after_postgres_was_restarted(
    own_server: EmbeddedPostgres, engine_of_own_server: AsyncEngine
) -> None:
    engine = engine_of_own_server
    await put_item(engine, "mug", 10)
    await asyncio.gather(*(fetch(engine, "SELECT pg_sleep(0.05)", {}) for _ in range(8)))  # eight connections
    own_server.stop()
    own_server.start()
    outcomes = await asyncio.gather(*(reserve(engine, request(f"h{n}", ("mug", 1))) for n in range(8)))
    assert len(outcomes) == 8 and all(map(is_new, outcomes))  # noqa: PT018
    own_server.stop()
    own_server.start()
    settled = await end(engine, "h1", HoldStatus.COMMITTED)
    assert settled is not None
    assert settled.changed
    await assert_stock_adds_up(engine)


async def test_postgres_away_is_unavailable_and_back_again_without_a_new_engine(
    own_server: EmbeddedPostgres, engine_of_own_server: AsyncEngine
) -> None:
    engine = engine_of_own_server
    await put_item(engine, "mug", 1)
    own_server.stop()
    for _ in range(2):
        with pytest.raises(DatabaseUnavailableError):
            await reserve(engine, request("h1", ("mug", 1)))
    with pytest.raises(DatabaseUnavailableError):
        await read_hold(engine, SHOP, "h1")
    own_server.start()
    assert is_new(await reserve(engine, request("h1", ("mug", 1))))


async def test_a_call_whose_connection_is_cut_runs_again(crowd: AsyncEngine) -> None:
    await put_item(crowd, "mug", 1)
    async with crowd.connect() as gate:
        await gate.execution_options(isolation_level="READ COMMITTED")
        await fetch_on(gate, 'SELECT FROM "InventoryItem" FOR UPDATE', {})
        buyer = asyncio.create_task(reserve(crowd, request("h1", ("mug", 1))))
        await until_waiting(crowd, 1)
        await fetch_on(gate, _CUT_WAITING, {})
        await until_waiting(crowd, 1)
        await gate.rollback()
    assert is_new(await buyer)
    await assert_stock_adds_up(crowd)


async def test_a_connection_that_breaks_twice_is_unavailable(crowd: AsyncEngine) -> None:
    for _ in range(2):
        with pytest.raises(DatabaseUnavailableError):
            await fetch(crowd, "SELECT pg_terminate_backend(pg_backend_pid(), 5000)", {})
    assert (await fetch(crowd, "SELECT 1 AS one", {}))[0]["one"] == 1


def make_read_only(server: EmbeddedPostgres, *, read_only: bool) -> None:
    """Make new sessions read-only, or not, and end those that there are."""
    setting = "SET default_transaction_read_only = on" if read_only else "RESET default_transaction_read_only"
    options = "-c default_transaction_read_only=off"
    with psycopg.connect(server.url, autocommit=True, options=options) as connection:
        connection.execute(f"ALTER DATABASE postgres {setting}".encode())
        if read_only:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )


@pytest.mark.parametrize("parameter", ["", "?target_session_attrs=any"])
async def test_a_database_that_was_read_only_for_a_while_is_written_again(
    own_server: EmbeddedPostgres, engine_of_own_server: AsyncEngine, parameter: str
) -> None:
    await put_item(engine_of_own_server, "mug", 10)
    settings = Settings.read({"DATABASE_URL": own_server.url + parameter})
    engine = create_engine(settings)
    await asyncio.gather(*(fetch(engine, "SELECT pg_sleep(0.05)", {}) for _ in range(8)))  # eight connections
    make_read_only(own_server, read_only=True)
    try:
        for _ in range(3):
            with pytest.raises(DatabaseUnavailableError):
                await reserve(engine, request("h1", ("mug", 1)))
            with pytest.raises(DatabaseUnavailableError):
                await put_item(engine, "mug", 9)
        sleeps = (fetch(engine, "SELECT pg_sleep(0.05)", {}) for _ in range(8))
        await asyncio.gather(*sleeps, return_exceptions=True)  # where it may read, with eight read-only connections
        assert await is_read_only(settings)
    finally:
        make_read_only(own_server, read_only=False)
    for _ in range(8 if parameter else 0):  # each failure replaces a read-only connection
        with suppress(DatabaseUnavailableError):
            await reserve(engine, request("h1", ("mug", 1)))
    await reserve(engine, request("h1", ("mug", 1)))
    await put_item(engine, "cap", 1)
    held = await read_hold(engine, SHOP, "h1")
    assert held is not None
    assert held.status is HoldStatus.ACTIVE
    assert not await is_read_only(settings)
    await engine.dispose()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DateStyle", "SQL, DMY"),
        ("IntervalStyle", "sql_standard"),
        ("TimeZone", "Asia/Kathmandu"),
        ("client_encoding", "LATIN1"),
        ("standard_conforming_strings", "off"),
        ("array_nulls", "off"),
        ("extra_float_digits", "-15"),
        ("default_transaction_isolation", "serializable"),
    ],
)
async def test_defaults_of_the_role_change_nothing(
    own_server: EmbeddedPostgres, engine_of_own_server: AsyncEngine, name: str, value: str
) -> None:
    with psycopg.connect(own_server.url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS odd; CREATE ROLE odd SUPERUSER LOGIN")
        connection.execute(f"ALTER ROLE odd SET {name} TO {value if ',' in value else repr(value)}".encode())
    await put_item(engine_of_own_server, "mug", 1)
    engine = create_engine(Settings.read({"DATABASE_URL": own_server.url.replace("postgres@", "odd@")}))
    at, duration = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC), timedelta(days=1, hours=2)
    [row] = await fetch(
        engine,
        "SELECT %(at)s::timestamptz AS at, %(duration)s::interval AS duration, %(text)s::text AS text,"
        " %(list)s::text[] AS list, 0.1::float8 + 0.2 AS number, length('\\') AS length,"
        " current_setting('transaction_isolation') AS isolation",
        {"at": at, "duration": duration, "text": "Größe 漢", "list": ["a", None]},
    )
    assert list(row.values()) == [at, duration, "Größe 漢", ["a", None], 0.1 + 0.2, 1, "read committed"]
    assert is_new(await reserve(engine, request("h1", ("mug", 1))))
    hold = await read_hold(engine, SHOP, "h1")
    assert hold is not None
    assert hold.expires_at.utcoffset() == timedelta()
    settled = await end(engine, "h1", HoldStatus.COMMITTED)
    assert settled is not None
    assert settled.changed
    await engine.dispose()
