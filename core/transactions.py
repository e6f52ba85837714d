"""Several statements that happen together or not at all."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.database import DatabaseBusyError, translated

Result = TypeVar("Result")


async def in_transaction(engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
    """Run `work` on a connection of its own in one READ COMMITTED transaction and return what it returns.

    What it raises rolls back. A connection that proves dead (Postgres was restarted) is replaced and the work done once
    more, so it must bear repeating. Raises DatabaseBusyError and DatabaseUnavailableError (it may have been done).
    """
    try:
        return await _once(engine, work)
    except exc.DBAPIError as error:
        # Of the connections that died with a restarted server the pool gives one only: the next is new.
        if not error.connection_invalidated:
            raise translated(error) from error.orig
    except exc.TimeoutError as error:
        raise DatabaseBusyError("every connection of this process is in use") from error
    try:
        return await _once(engine, work)
    except exc.DBAPIError as error:
        raise translated(error) from error.orig
    except exc.TimeoutError as error:
        raise DatabaseBusyError("every connection of this process is in use") from error


async def _once(engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="READ COMMITTED")
        async with connection.begin():
            return await work(connection)
