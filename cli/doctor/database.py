"""Checks Postgres through one connection, made as the product makes its own."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row

from cli.doctor.clocks import ClockReading, check_clock
from cli.doctor.postgres_answer import FULL, HANGS, PASSWORD, REFUSED, SLOW, START, fix_connection
from cli.doctor.results import CheckResult, fault, not_applicable, ok
from cli.doctor.schema import Schema, released_schema
from core.database_session import OPTIONS_ARRIVED, connection_info, transaction_settings
from core.error_messages import first_line
from core.settings import Settings

AREA = "database"
OLDEST_VERSION = 14
"""The oldest version that is still maintained; the tests run on 18."""
_CONNECT_SECONDS = 5
"""More than the product waits: here a machine that is slow is no server that is down."""
SPARE_CONNECTIONS = 5
"""Reserved for `holdfast migrate`, the other commands and a psql session."""
CAUSES = tuple(f"{AREA}: {name}" for name in ("reachable", "version", "writes", "migrations", "tables"))
"""The faults without which nothing is made."""
_TLS_MODES = ("require", "verify-ca", "verify-full")
_DEPENDENT = ("version", "writes", "migrations", "tables", "indexes", "time-outs", "connections", "clock")

Connection = psycopg.AsyncConnection[DictRow]

_FACTS = """
SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int / 10000 AS major,
       pg_is_in_recovery() AS replica, current_setting('transaction_read_only')::bool AS read_only,
       (SELECT setting::int FROM pg_settings WHERE name = 'lock_timeout') AS lock_ms,
       (SELECT setting::int FROM pg_settings WHERE name = 'statement_timeout') AS statement_ms,
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
         - coalesce(current_setting('reserved_connections', true), '0')::int AS server_limit,
       (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS database_limit,
       (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS role_limit,
       to_regclass('alembic_version') IS NOT NULL AS has_version,
       array(SELECT c.relname::text FROM pg_class c
             WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')) AS tables,
       array(SELECT i.relname::text FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
             WHERE i.relnamespace = current_schema()::regnamespace AND x.indisvalid) AS indexes,
       array(SELECT i.relname::text FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
             WHERE i.relnamespace = current_schema()::regnamespace AND NOT x.indisvalid) AS invalid_indexes
"""


async def check_database(settings: Settings, processes: int, now: Callable[[], float] = time.time) -> list[CheckResult]:
    """Check the database of the settings. `processes` is the number of API and worker processes that connect to it."""
    schema = released_schema()
    try:
        info = make_conninfo(connection_info(settings, for_writing=False), connect_timeout=_CONNECT_SECONDS)
        connection = await psycopg.AsyncConnection.connect(info, autocommit=True, row_factory=dict_row)
    except psycopg.Error as error:
        fix = await fix_connection(settings.database_url.get_secret_value())
        if isinstance(error, psycopg.errors.ConnectionTimeout) and fix not in (START, HANGS):
            fix = SLOW
        if fix in (REFUSED, PASSWORD) and not settings.database_pooler:
            fix += "; if a pooler such as PgBouncer listens there, set INVENTORY_DATABASE_POOLER=1"
        if fix not in (START, FULL, SLOW) and _wants_tls(settings):
            fix += "; compare sslmode and sslrootcert in DATABASE_URL with docs/deployment.md, TLS"
        why = "the database cannot be reached"
        return [
            fault(AREA, "reachable", first_line(error), fix),
            *(not_applicable(AREA, name, why) for name in _DEPENDENT),
        ]
    async with connection:
        where = f"{connection.info.user}@{connection.info.host}:{connection.info.port}/{connection.info.dbname}"
        where += f", {_encryption(connection)}"
        async with connection.transaction():
            if in_transaction := transaction_settings(settings):
                await connection.execute(in_transaction.encode())
            facts = await _one(connection, _FACTS)
            arrived = bool(in_transaction) or (await _one(connection, OPTIONS_ARRIVED))["arrived"]
        current = await _current(connection) if facts["has_version"] else None
        before = now()
        server = await _one(connection, "SELECT extract(epoch FROM clock_timestamp())::float8 AS at")
        reading = ClockReading(before, server["at"], now())
    return [
        ok(AREA, "reachable", where),
        check_version(facts["version"], facts["major"], replica=facts["replica"]),
        check_writes(replica=facts["replica"], read_only=facts["read_only"]),
        check_migrations(current, schema),
        _check_tables(facts["tables"], schema),
        *_check_indexes(facts, schema),
        check_timeouts(facts["lock_ms"], facts["statement_ms"], settings, arrived=arrived),
        _check_pool(facts, processes, settings),
        check_clock(AREA, "Postgres", reading),
    ]


def _encryption(connection: Connection) -> str:
    if not connection.pgconn.ssl_in_use:
        return "not encrypted"
    mode = connection.info.get_parameters().get("sslmode", "prefer")
    if mode in ("verify-ca", "verify-full"):
        return f"encrypted, the server's certificate verified ({mode})"
    return f"encrypted, the server's certificate not verified (sslmode={mode})"


def _wants_tls(settings: Settings) -> bool:
    return conninfo_to_dict(settings.database_url.get_secret_value()).get("sslmode") in _TLS_MODES


def unknown_database() -> list[CheckResult]:
    """Return the results for an installation without a valid DATABASE_URL."""
    names = ("reachable", *_DEPENDENT)
    return [not_applicable(AREA, name, "DATABASE_URL is not set or not valid") for name in names]


def check_version(version: str, major: int, *, replica: bool) -> CheckResult:
    """Check that this is a maintained Postgres that accepts writes."""
    if replica:
        return fault(AREA, "version", f"{version}, a read-only replica", "point DATABASE_URL at the primary")
    if major < OLDEST_VERSION:
        return fault(AREA, "version", f"{version} is no longer maintained", f"upgrade to {OLDEST_VERSION} or newer")
    return ok(AREA, "version", f"Postgres {version.split(maxsplit=1)[0]}")


def check_writes(*, replica: bool, read_only: bool) -> CheckResult:
    """Check that a transaction may write."""
    if replica:
        return not_applicable(AREA, "writes", "a replica accepts none")
    if read_only:
        fix = "find where default_transaction_read_only is on: ALTER DATABASE, ALTER ROLE, postgresql.conf; reset it"
        return fault(AREA, "writes", "the database is read-only: the API and the worker do not connect to it", fix)
    return ok(AREA, "writes", "accepted")


def check_migrations(current: list[str] | None, schema: Schema) -> CheckResult:
    """Check that the database has this release's schema or a newer one, on which this release runs too."""
    if not current:
        return fault(AREA, "migrations", "none was applied", "run: holdfast migrate")
    if current == [schema.head]:
        return ok(AREA, "migrations", f"at {schema.head}, the newest of this release")
    if newer := sorted(set(current) - schema.revisions):
        return ok(AREA, "migrations", f"at {', '.join(newer)}, newer than this release, which runs on it")
    return fault(AREA, "migrations", f"at {', '.join(current)}, not at {schema.head}", "run: holdfast migrate")


def check_timeouts(lock_ms: int, statement_ms: int, settings: Settings, *, arrived: bool) -> CheckResult:
    """Check that the connection has the time-outs that the product sets when it connects."""
    wanted = (settings.lock_timeout_ms, settings.statement_timeout_ms)
    if (lock_ms, statement_ms) == wanted:
        found = f"lock {lock_ms} ms, statement {statement_ms} ms"
        if arrived:
            return ok(AREA, "time-outs", found)
        found += ", but not from the start-up options, which were lost"
    else:
        found = f"lock_timeout is {lock_ms} ms and statement_timeout {statement_ms} ms, not {wanted[0]} and {wanted[1]}"
    return fault(
        AREA,
        "time-outs",
        found,
        "behind a pooler such as PgBouncer set INVENTORY_DATABASE_POOLER=1; otherwise look for a login trigger",
    )


def check_connections(limit: int, processes: int, pool_size: int) -> CheckResult:
    """Check that the connection pools of all processes fit into the limit of Postgres."""
    wanted = processes * pool_size + SPARE_CONNECTIONS
    total = f"{processes} processes x {pool_size} + {SPARE_CONNECTIONS} spare = {wanted} of {limit} connections"
    if wanted <= limit:
        return ok(AREA, "connections", total)
    fix = f"raise max_connections to {wanted} or more, or lower INVENTORY_DATABASE_POOL_SIZE"
    return fault(AREA, "connections", f"{total}: too few", fix)


def _check_pool(facts: dict[str, Any], processes: int, settings: Settings) -> CheckResult:
    if settings.database_pooler:
        needed = processes * settings.pool_size
        return not_applicable(AREA, "connections", f"to a pooler: it must accept {needed}, and shares Postgres's own")
    return check_connections(_connection_limit(facts), processes, settings.pool_size)


def _check_tables(found: list[str], schema: Schema) -> CheckResult:
    if missing := [name for name in schema.tables if name not in found]:
        return fault(
            AREA,
            "tables",
            f"missing: {', '.join(missing)}",
            "run: holdfast migrate; if that does not help, restore a backup",
        )
    return ok(AREA, "tables", f"{', '.join(schema.tables)}")


def _check_indexes(facts: dict[str, Any], schema: Schema) -> Iterator[CheckResult]:
    missing = [name for name in schema.indexes if name not in facts["indexes"]]
    for name in missing:
        if name in facts["invalid_indexes"]:
            found, fix = f"{name} is not valid", f'DROP INDEX "{name}"; {schema.indexes[name]}'
        else:
            found, fix = f"missing: {name}", schema.indexes[name]
        at_head = all(table in facts["tables"] for table in schema.tables)
        yield fault(AREA, "indexes", found, f"run in psql: {fix}" if at_head else "run: holdfast migrate")
    if not missing:
        yield ok(AREA, "indexes", f"all {len(schema.indexes)} exist and are valid")


def _connection_limit(facts: dict[str, Any]) -> int:
    limits: list[int] = [facts["server_limit"], facts["database_limit"], facts["role_limit"]]
    return min(limit for limit in limits if limit >= 0)


async def _current(connection: Connection) -> list[str]:
    cursor = await connection.execute("SELECT version_num FROM alembic_version ORDER BY 1")
    return [row["version_num"] for row in await cursor.fetchall()]


async def _one(connection: Connection, statement: str) -> dict[str, Any]:
    cursor = await connection.execute(statement.encode())
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - the statement returns one row
    return row
