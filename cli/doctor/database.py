"""The doctor on Postgres: one connection, as the product makes it, and what is seen through it."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row

from cli.doctor.clocks import Reading, clock_line
from cli.doctor.lines import Line, fault, first_line, not_applicable, ok
from cli.doctor.schema import Schema, released_schema
from core.database import connection_info
from core.settings import Settings

AREA = "database"
OLDEST_VERSION = 14
"""The oldest that is still maintained; the tests run on 18."""
SPARE_CONNECTIONS = 5
"""For `holdfast migrate`, the commands and a psql at the worst moment."""
_INVALID_AUTHORIZATION = "28000"
_TLS_MODES = ("require", "verify-ca", "verify-full")
_AFTERWARDS = ("version", "migrations", "tables", "indexes", "time-outs", "connections", "clock")

Connection = psycopg.AsyncConnection[DictRow]

_SEEN = """
SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int / 10000 AS major,
       pg_is_in_recovery() AS replica,
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


async def database_lines(settings: Settings, processes: int, now: Callable[[], float] = time.time) -> list[Line]:
    """Look at the database of the settings, for so many processes of API and worker together."""
    schema = released_schema()
    try:
        connection = await psycopg.AsyncConnection.connect(
            connection_info(settings), autocommit=True, row_factory=dict_row
        )
    except psycopg.Error as error:
        fix = "start Postgres, or set DATABASE_URL right; try: psql $DATABASE_URL -c 'SELECT 1'"
        if _concerns_tls(settings, error):
            fix += "; if it runs, compare sslmode and sslrootcert in DATABASE_URL with docs/deployment.md, TLS"
        why = "the database is not reached"
        return [
            fault(AREA, "reachable", first_line(error), fix),
            *(not_applicable(AREA, name, why) for name in _AFTERWARDS),
        ]
    async with connection:
        where = f"{connection.info.user}@{connection.info.host}:{connection.info.port}/{connection.info.dbname}"
        where += f", {_encryption(connection)}"
        seen = await _one(connection, _SEEN)
        current = await _current(connection) if seen["has_version"] else None
        before = now()
        server = await _one(connection, "SELECT extract(epoch FROM clock_timestamp())::float8 AS at")
        reading = Reading(before, server["at"], now())
    return [
        ok(AREA, "reachable", where),
        version_line(seen["version"], seen["major"], replica=seen["replica"]),
        migration_line(current, schema),
        _tables_line(seen["tables"], schema),
        *_index_lines(seen, schema),
        timeouts_line(seen["lock_ms"], seen["statement_ms"], settings),
        connections_line(_limit(seen), processes, settings.pool_size),
        clock_line(AREA, "Postgres", reading),
    ]


def _encryption(connection: Connection) -> str:
    if not connection.pgconn.ssl_in_use:
        return "not encrypted"
    mode = connection.info.get_parameters().get("sslmode", "prefer")
    if mode in ("verify-ca", "verify-full"):
        return f"encrypted, the server's certificate verified ({mode})"
    return f"encrypted, the server's certificate not verified (sslmode={mode})"


def _concerns_tls(settings: Settings, error: psycopg.Error) -> bool:
    """Return whether TLS may be the cause: it is required here, or the server rejected the connection without it."""
    parameters = conninfo_to_dict(settings.database_url.get_secret_value())
    return error.sqlstate == _INVALID_AUTHORIZATION or parameters.get("sslmode") in _TLS_MODES


def unknown_lines() -> list[Line]:
    """Return the lines of a database whose address is not known."""
    names = ("reachable", *_AFTERWARDS)
    return [not_applicable(AREA, name, "DATABASE_URL says of no database") for name in names]


def version_line(version: str, major: int, *, replica: bool) -> Line:
    """Say which Postgres it is."""
    if replica:
        return fault(
            AREA, "version", f"{version}, a replica: nothing can be written", "point DATABASE_URL at the primary"
        )
    if major < OLDEST_VERSION:
        return fault(AREA, "version", f"{version} is not maintained any more", f"take {OLDEST_VERSION} or newer")
    return ok(AREA, "version", f"Postgres {version.split(maxsplit=1)[0]}")


def migration_line(current: list[str] | None, schema: Schema) -> Line:
    """Say whether the database is at this release's schema. A newer one serves this release too."""
    if not current:
        return fault(AREA, "migrations", "none was run", "run: holdfast migrate")
    if current == [schema.head]:
        return ok(AREA, "migrations", f"at {schema.head}, the newest of this release")
    if newer := sorted(set(current) - schema.revisions):
        return ok(AREA, "migrations", f"at {', '.join(newer)}, newer than this release, which runs on it too")
    return fault(AREA, "migrations", f"at {', '.join(current)}, not at {schema.head}", "run: holdfast migrate")


def timeouts_line(lock_ms: int, statement_ms: int, settings: Settings) -> Line:
    """Say whether the connection has the time-outs that the product asks for when it connects."""
    wanted = (settings.lock_timeout_ms, settings.statement_timeout_ms)
    if (lock_ms, statement_ms) == wanted:
        return ok(AREA, "time-outs", f"lock {lock_ms} ms, statement {statement_ms} ms, in force")
    return fault(
        AREA,
        "time-outs",
        f"lock_timeout is {lock_ms} ms and statement_timeout {statement_ms} ms, not {wanted[0]} and {wanted[1]}",
        "connect without a pooler that drops start-up options, or let it pass `options` on; look for a login trigger",
    )


def connections_line(limit: int, processes: int, pool_size: int) -> Line:
    """Say whether the pools of all processes fit into what Postgres allows."""
    wanted = processes * pool_size + SPARE_CONNECTIONS
    sum_of_it = f"{processes} processes x {pool_size} + {SPARE_CONNECTIONS} spare = {wanted} of {limit} connections"
    if wanted <= limit:
        return ok(AREA, "connections", sum_of_it)
    fix = f"raise max_connections to {wanted} or more, or lower INVENTORY_DATABASE_POOL_SIZE"
    return fault(AREA, "connections", f"{sum_of_it}: too few", fix)


def _tables_line(found: list[str], schema: Schema) -> Line:
    if missing := [name for name in schema.tables if name not in found]:
        return fault(AREA, "tables", f"missing: {', '.join(missing)}", "run: holdfast migrate; else restore a back-up")
    return ok(AREA, "tables", f"{', '.join(schema.tables)}")


def _index_lines(seen: dict[str, Any], schema: Schema) -> Iterator[Line]:
    missing = [name for name in schema.indexes if name not in seen["indexes"]]
    for name in missing:
        if name in seen["invalid_indexes"]:
            found, fix = f"{name} is not valid", f'DROP INDEX "{name}"; {schema.indexes[name]}'
        else:
            found, fix = f"missing: {name}", schema.indexes[name]
        at_head = all(table in seen["tables"] for table in schema.tables)
        yield fault(AREA, "indexes", found, f"run in psql: {fix}" if at_head else "run: holdfast migrate")
    if not missing:
        yield ok(AREA, "indexes", f"all {len(schema.indexes)} are there and valid")


def _limit(seen: dict[str, Any]) -> int:
    limits: list[int] = [seen["server_limit"], seen["database_limit"], seen["role_limit"]]
    return min(limit for limit in limits if limit >= 0)


async def _current(connection: Connection) -> list[str]:
    cursor = await connection.execute("SELECT version_num FROM alembic_version ORDER BY 1")
    return [row["version_num"] for row in await cursor.fetchall()]


async def _one(connection: Connection, statement: str) -> dict[str, Any]:
    cursor = await connection.execute(statement.encode())
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - each of these returns one
    return row
