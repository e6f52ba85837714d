"""The way to Postgres: one engine a process, each statement one round trip, failures told apart once."""

import select
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.rows import dict_row
from sqlalchemy import event, exc
from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from core.settings import Settings

_LOCK_NOT_AVAILABLE = "55P03"
_QUERY_CANCELED = "57014"
_DEADLOCK = "40P01"
_SERIALIZATION = "40001"
_BUSY_STATES = frozenset({_LOCK_NOT_AVAILABLE, _QUERY_CANCELED, _DEADLOCK, _SERIALIZATION})
_AWAY_CLASSES = ("08", "53", "57P", "25006", "3D000")
"""SQLSTATE beginnings of: connection failure, out of resources, shut-down or start-up, a read-only server (a replica),
no such database."""
_NO_SUCH_TABLE = "42P01"


Row = Mapping[str, Any]
"""A row by its columns' names."""


class DatabaseBusyError(Exception):
    """The rows could not be locked in time. Nothing was changed."""


class DatabaseUnavailableError(Exception):
    """Postgres did not answer. What was asked may or may not have been done."""


class _ConnectionDiedError(DatabaseUnavailableError):
    """The connection broke: another one may answer."""


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

    engine = create_async_engine(
        "postgresql+psycopg://",
        async_creator=connect,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        pool_size=pool_size or settings.pool_size,
        max_overflow=0,
        pool_timeout=settings.lock_timeout_ms / 1000,
    )
    event.listen(engine.sync_engine, "checkout", _refuse_dead)
    return engine


def _refuse_dead(connection: AdaptedConnection, _record: object, _proxy: object) -> None:
    """Have the pool replace an idle connection that has something to read: Postgres closed it (it was restarted).

    Without, a restart would leave one dead connection after another to the statements that follow.
    """
    watched = select.poll()
    watched.register(connection.driver_connection.pgconn.socket, select.POLLIN)
    if watched.poll(0):
        raise exc.DisconnectionError


async def fetch(engine: AsyncEngine, statement: str, parameters: Mapping[str, object]) -> Sequence[Row]:
    """Run one statement in its own transaction, in one round trip, and return its rows.

    A connection that proves dead (Postgres was restarted) is replaced and the statement run once more: every
    statement of ours may be repeated. Raises DatabaseBusyError and DatabaseUnavailableError, and psycopg's own errors
    for what is wrong with the statement.
    """
    try:
        return await _fetch_once(engine, statement, parameters)
    except _ConnectionDiedError:
        return await _fetch_once(engine, statement, parameters)


async def _fetch_once(engine: AsyncEngine, statement: str, parameters: Mapping[str, object]) -> Sequence[Row]:
    """Run the statement on the driver's own cursor, on a connection of SQLAlchemy's pool.

    Through SQLAlchemy's result layer the same statement costs twice the CPU. The connection is in autocommit, so there
    is nothing to roll back when it is given back.
    """
    try:
        borrowed = await engine.raw_connection()
    except exc.TimeoutError as error:
        raise DatabaseBusyError("every connection of this process is in use") from error
    except psycopg.OperationalError as error:
        raise DatabaseUnavailableError(_first_line(error)) from error
    driver: psycopg.AsyncConnection[Any] = borrowed.driver_connection  # type: ignore[assignment]
    try:
        cursor = driver.cursor(row_factory=dict_row)
        await cursor.execute(statement, parameters)
        answer = cursor.pgresult
        return await cursor.fetchall() if answer and answer.status == ExecStatus.TUPLES_OK else ()
    except psycopg.Error as error:
        if driver.closed:
            raise _ConnectionDiedError(_first_line(error)) from error
        if known := _known(error):
            raise known from error
        raise
    finally:
        # Dead, or not done with a statement that was cancelled: the pool makes a new one in its place.
        if driver.pgconn.transaction_status != TransactionStatus.IDLE:
            borrowed.invalidate(soft=True)
        borrowed.close()


async def fetch_on(connection: AsyncConnection, statement: str, parameters: Mapping[str, object]) -> Sequence[Row]:
    """Run one statement on a connection that the caller holds, and return its rows. Raises SQLAlchemy's own errors."""
    result = await connection.exec_driver_sql(statement, dict(parameters))
    return [dict(row) for row in result.mappings()] if result.returns_rows else ()


def translated(error: exc.DBAPIError) -> Exception:
    """Return Busy or Unavailable for a failure that has nothing to do with the statement, else the error itself."""
    known = _known(error.orig)
    if known is None and error.connection_invalidated:
        return DatabaseUnavailableError(_first_line(error.orig))
    return known or error


def _known(error: BaseException | None) -> Exception | None:
    """Return Busy or Unavailable where the driver's error says so."""
    state = getattr(error, "sqlstate", None) or ""
    if state in _BUSY_STATES:
        return DatabaseBusyError(f"rows not locked in time ({state})")
    if state == _NO_SUCH_TABLE:
        return NotMigratedError("the tables are not there; run: holdfast migrate")
    if state.startswith(_AWAY_CLASSES) or (not state and isinstance(error, psycopg.OperationalError)):
        return DatabaseUnavailableError(_first_line(error))
    return None


def _first_line(error: BaseException | None) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else "no answer"
