"""Connects to Postgres, runs single statements, and classifies database errors."""

import select
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.rows import dict_row
from psycopg.types.datetime import DatetimeDumper
from sqlalchemy import event, exc
from sqlalchemy.engine import AdaptedConnection, ExceptionContext
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from core.database_session import OPTIONS_ARRIVED, connection_info, transaction_settings
from core.error_messages import first_line
from core.settings import Settings

_LOCK_NOT_AVAILABLE = "55P03"
_QUERY_CANCELED = "57014"
_DEADLOCK = "40P01"
_SERIALIZATION = "40001"
_BUSY_STATES = frozenset({_LOCK_NOT_AVAILABLE, _QUERY_CANCELED, _DEADLOCK, _SERIALIZATION})
_USELESS_CONNECTION = ("08", "57P", "25006")
"""SQLSTATE prefixes of: connection failure, shutdown or startup, read-only session. After a failover such a connection
can stay as it is for ever, so the pool replaces it."""
_UNAVAILABLE_PREFIXES = (*_USELESS_CONNECTION, "53", "3D000")
"""Also: out of resources, no such database."""
_NO_SUCH_TABLE = "42P01"
_POOL_EXHAUSTED = "every connection of this process is in use"
_IN_TRANSACTION = "holdfast_settings"
"""The name of the engine's option with the statement that begins each transaction behind a pooler."""
_FIRST_TIME, _LAST_TIME = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


Row = Mapping[str, Any]
"""A row as a mapping from column name to value."""


class DatabaseBusyError(Exception):
    """Row locks or a connection could not be obtained in time. Nothing was changed."""


class DatabaseUnavailableError(Exception):
    """Postgres did not answer. The statement may or may not have been executed."""


class ConnectionLostError(DatabaseUnavailableError):
    """The connection broke, for example because Postgres was restarted. A new connection may work."""


class NotMigratedError(DatabaseUnavailableError):
    """The tables do not exist. `holdfast migrate` creates them."""


class PoolerUnknownError(DatabaseUnavailableError):
    """The connection lost its start-up options on the way: a pooler is in between, and the settings do not say so."""

    def __init__(self) -> None:
        super().__init__(
            "the connection lost its start-up options, as behind a pooler such as PgBouncer: "
            "set INVENTORY_DATABASE_POOLER=1"
        )


def create_engine(settings: Settings, pool_size: int | None = None) -> AsyncEngine:
    """Create the connection pool of a process. It connects on first use and reconnects after an outage."""
    info = connection_info(settings)
    in_transaction = transaction_settings(settings)

    async def connect() -> psycopg.AsyncConnection[Any]:
        connection = await psycopg.AsyncConnection.connect(
            info, autocommit=True, prepare_threshold=settings.prepare_threshold
        )
        if in_transaction:
            connection.adapters.register_dumper(datetime, _UtcDumper)
        else:
            await _require_options(connection)
        return connection

    engine = create_async_engine(
        "postgresql+psycopg://",
        async_creator=connect,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        pool_size=pool_size or settings.pool_size,
        max_overflow=0,
        pool_timeout=settings.lock_timeout_ms / 1000,
        execution_options={_IN_TRANSACTION: in_transaction},
    )
    event.listen(engine.sync_engine, "checkout", _replace_closed_connection)
    event.listen(engine.sync_engine, "handle_error", _discard_useless_connections)
    if in_transaction:
        event.listen(engine.sync_engine, "begin", lambda connection: connection.exec_driver_sql(in_transaction))
    return engine


async def _require_options(connection: psycopg.AsyncConnection[Any]) -> None:
    """Close the connection and raise PoolerUnknownError if it did not get its start-up options."""
    try:
        [arrived] = await (await connection.execute(OPTIONS_ARRIVED)).fetchone() or [False]
    except BaseException:  # a cancellation, too, would leave it open
        await connection.close()
        raise
    if not arrived:
        await connection.close()
        raise PoolerUnknownError


class _UtcDumper(DatetimeDumper):
    """Writes a time into a statement in UTC, since Postgres reads no offset of sixteen hours or more."""

    def dump(self, obj: datetime) -> Buffer | None:
        try:
            return super().dump(obj.astimezone(UTC))
        except OverflowError:  # in UTC it is before the year 1 or after 9999
            return super().dump(_FIRST_TIME if obj.year == 1 else _LAST_TIME)


def behind_pooler(engine: AsyncEngine) -> bool:
    """Whether the engine's connections lead to a pooler: each transaction may be in another session."""
    return bool(engine.get_execution_options()[_IN_TRANSACTION])


def _discard_useless_connections(context: ExceptionContext) -> None:
    """Make the pool replace its connections when one of them cannot be used any more."""
    if _is_useless(context.original_exception):
        context.is_disconnect = True


def _is_useless(error: BaseException) -> bool:
    """Return whether the error means that its connection cannot be used any more."""
    return (getattr(error, "sqlstate", None) or "").startswith(_USELESS_CONNECTION)


def _replace_closed_connection(connection: AdaptedConnection, _record: object, _proxy: object) -> None:
    """Make the pool replace an idle connection that has unread data: Postgres has closed it.

    Otherwise, after a restart of Postgres, each pooled connection would fail one statement.
    """
    poll = select.poll()
    poll.register(connection.driver_connection.pgconn.socket, select.POLLIN)
    if poll.poll(0):
        raise exc.DisconnectionError


async def fetch(engine: AsyncEngine, statement: str, parameters: Mapping[str, object]) -> Sequence[Row]:
    """Run one statement in its own transaction, in one round trip, and return its rows.

    If the connection is lost, the statement runs once more on a new one, so it must be idempotent. Raises
    DatabaseBusyError, DatabaseUnavailableError, and psycopg's own errors for faults of the statement.
    """
    try:
        return await _fetch_once(engine, statement, parameters)
    except ConnectionLostError:
        return await _fetch_once(engine, statement, parameters)


async def _fetch_once(engine: AsyncEngine, statement: str, parameters: Mapping[str, object]) -> Sequence[Row]:
    """Run the statement on psycopg's cursor, on a connection of SQLAlchemy's pool.

    Through SQLAlchemy's result layer the same statement costs twice the CPU. The connection is in autocommit mode, so
    nothing has to be rolled back when it is returned.
    """
    try:
        pooled = await engine.raw_connection()
    except exc.TimeoutError as error:
        raise DatabaseBusyError(_POOL_EXHAUSTED) from error
    except (psycopg.OperationalError, exc.DBAPIError) as error:  # SQLAlchemy itself asks an engine's first connection
        raise DatabaseUnavailableError(first_line(error)) from error
    connection: psycopg.AsyncConnection[Any] = pooled.driver_connection  # type: ignore[assignment]
    try:
        if in_transaction := engine.get_execution_options()[_IN_TRANSACTION]:
            return await _fetch_in_transaction(connection, in_transaction, statement, parameters)
        return await _rows(await connection.cursor(row_factory=dict_row).execute(statement, parameters))
    except psycopg.Error as error:
        if connection.closed or _is_useless(error):
            pooled.invalidate(soft=True)
            raise ConnectionLostError(first_line(error)) from error
        if classified := _classify(error):
            raise classified from error
        raise
    finally:
        # Closed, or still busy with a cancelled statement, or in its transaction: the pool replaces the connection. A
        # pooler would keep a session for it until then.
        if connection.pgconn.transaction_status != TransactionStatus.IDLE:
            await connection.close()
            pooled.invalidate(soft=True)
        pooled.close()


async def _fetch_in_transaction(
    connection: psycopg.AsyncConnection[Any], first: str, statement: str, parameters: Mapping[str, object]
) -> Sequence[Row]:
    """Run both statements in one transaction, sent as one message: no row lock waits for another round trip.

    The parameters are written into the statement. In psycopg's pipeline mode they need not be, but there a Flush
    follows the last Sync: if PgBouncer reads it after the transaction's end, it gives the connection another session
    and does not take it back before the connection's next transaction (seen with 1.18).
    """
    query = f"BEGIN ISOLATION LEVEL READ COMMITTED; {first}; {statement}\n; COMMIT"
    cursor = psycopg.AsyncClientCursor(connection, row_factory=dict_row)
    try:
        await cursor.execute(query, parameters)
    except psycopg.Error:
        if connection.pgconn.transaction_status == TransactionStatus.INERROR:
            await connection.rollback()
        raise
    cursor.nextset()
    cursor.nextset()
    return await _rows(cursor)


async def _rows(cursor: psycopg.AsyncCursor[Row]) -> Sequence[Row]:
    """Return the rows of the cursor's present result; none if it has no rows, as that of an UPDATE."""
    result = cursor.pgresult
    return await cursor.fetchall() if result and result.status == ExecStatus.TUPLES_OK else ()


async def fetch_on(connection: AsyncConnection, statement: str, parameters: Mapping[str, object]) -> Sequence[Row]:
    """Run one statement on the given connection and return its rows. Raises SQLAlchemy's errors."""
    result = await connection.exec_driver_sql(statement, dict(parameters))
    return [dict(row) for row in result.mappings()] if result.returns_rows else ()


@contextmanager
def classified_errors() -> Iterator[None]:
    """Raise DatabaseBusyError or DatabaseUnavailableError in place of SQLAlchemy's and psycopg's errors of these kinds.

    A lost connection is raised as ConnectionLostError. Errors caused by the statement itself are psycopg's.
    """
    try:
        yield
    except exc.TimeoutError as error:
        raise DatabaseBusyError(_POOL_EXHAUSTED) from error
    except exc.DBAPIError as error:
        if error.connection_invalidated:
            raise ConnectionLostError(first_line(error.orig or error)) from error.orig
        if error.orig is None:
            raise
        if classified := _classify(error.orig):
            raise classified from error.orig
        raise error.orig from None  # SQLAlchemy's error has it as its cause
    except psycopg.Error as error:
        if classified := _classify(error):
            raise classified from error
        raise


def _classify(error: BaseException) -> DatabaseBusyError | DatabaseUnavailableError | None:
    """Classify psycopg's error by its SQLSTATE; None if the statement itself is at fault."""
    state = getattr(error, "sqlstate", None) or ""
    if state in _BUSY_STATES:
        return DatabaseBusyError(f"rows not locked in time ({state})")
    if state == _NO_SUCH_TABLE:
        return NotMigratedError("the tables do not exist; run: holdfast migrate")
    if state.startswith(_UNAVAILABLE_PREFIXES) or (not state and isinstance(error, psycopg.OperationalError)):
        return DatabaseUnavailableError(first_line(error))
    return None
