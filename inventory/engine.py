"""The way to Postgres: one engine a process, each statement one round trip, failures told apart once."""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import exc
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from inventory.settings import Settings

_LOCK_NOT_AVAILABLE = "55P03"
_QUERY_CANCELED = "57014"
_DEADLOCK = "40P01"
_SERIALIZATION = "40001"
_BUSY_STATES = frozenset({_LOCK_NOT_AVAILABLE, _QUERY_CANCELED, _DEADLOCK, _SERIALIZATION})
_AWAY_CLASSES = ("08", "53", "57P", "25006", "3D000")
"""SQLSTATE beginnings of: connection failure, out of resources, shut-down or start-up, a read-only server (a replica),
no such database."""
_NO_SUCH_TABLE = "42P01"


class DatabaseBusyError(Exception):
    """The rows could not be locked in time. Nothing was changed."""


class DatabaseUnavailableError(Exception):
    """Postgres did not answer. What was asked may or may not have been done."""


class NotMigratedError(DatabaseUnavailableError):
    """The tables are not there. `holdfast migrate` makes them."""


def connection_info(settings: Settings) -> str:
    """Return the connection string, with the limits that hold on every connection added as start-up options."""
    url = settings.database_url.get_secret_value()
    given = conninfo_to_dict(url)
    limits = (
        f"-c lock_timeout={settings.lock_timeout_ms} -c statement_timeout={settings.statement_timeout_ms}"
        " -c plan_cache_mode=force_generic_plan -c timezone=UTC"
        f"{' -c holdfast.events=on' if settings.events_url else ''}"
    )
    defaults = {"connect_timeout": "2", "application_name": "holdfast", "tcp_user_timeout": "10000"}
    own = {name: value for name, value in defaults.items() if name not in given}
    return make_conninfo(url, options=f"{given.get('options') or ''} {limits}".strip(), **own)


def create_engine(settings: Settings, pool_size: int | None = None) -> AsyncEngine:
    """Make the engine of a process. It connects on first use and again after Postgres was away."""
    info = connection_info(settings)

    async def connect() -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(info)

    return create_async_engine(
        "postgresql+psycopg://",
        async_creator=connect,
        isolation_level="AUTOCOMMIT",
        pool_size=pool_size or settings.pool_size,
        max_overflow=0,
        pool_timeout=settings.lock_timeout_ms / 1000,
    )


async def fetch(engine: AsyncEngine, statement: str, parameters: Mapping[str, object]) -> Sequence[RowMapping]:
    """Run one statement in its own transaction, in one round trip, and return its rows.

    A connection that proves dead (Postgres was restarted) is replaced and the statement run once more: every
    statement of ours may be repeated. Raises DatabaseBusyError and DatabaseUnavailableError.
    """
    try:
        return await _fetch_once(engine, statement, parameters)
    except exc.DBAPIError as error:
        if not error.connection_invalidated:
            raise translated(error) from error.orig
    except exc.TimeoutError as error:
        raise DatabaseBusyError("every connection of this process is in use") from error
    try:
        return await _fetch_once(engine, statement, parameters)
    except exc.DBAPIError as error:
        raise translated(error) from error.orig
    except exc.TimeoutError as error:
        raise DatabaseBusyError("every connection of this process is in use") from error


async def _fetch_once(engine: AsyncEngine, statement: str, parameters: Mapping[str, object]) -> Sequence[RowMapping]:
    async with engine.connect() as connection:
        return await fetch_on(connection, statement, parameters)


async def fetch_on(
    connection: AsyncConnection, statement: str, parameters: Mapping[str, object]
) -> Sequence[RowMapping]:
    """Run one statement on a connection that the caller holds, and return its rows. Raises SQLAlchemy's own errors."""
    result = await connection.exec_driver_sql(statement, dict(parameters))
    return result.mappings().all() if result.returns_rows else ()


def translated(error: exc.DBAPIError) -> Exception:
    """Return Busy or Unavailable for a failure that has nothing to do with the statement, else the error itself."""
    state = getattr(error.orig, "sqlstate", None) or ""
    if state in _BUSY_STATES:
        return DatabaseBusyError(f"rows not locked in time ({state})")
    if state == _NO_SUCH_TABLE:
        return NotMigratedError("the tables are not there; run: holdfast migrate")
    connection_lost = error.connection_invalidated or (not state and isinstance(error.orig, psycopg.OperationalError))
    if connection_lost or state.startswith(_AWAY_CLASSES):
        return DatabaseUnavailableError(str(error.orig).strip().splitlines()[0] if str(error.orig) else "no answer")
    return error
