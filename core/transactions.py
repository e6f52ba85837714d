"""Runs several statements in one transaction."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from core.database import ConnectionLostError, classified_errors

Result = TypeVar("Result")


async def on_connection(engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
    """Run `work` on a READ COMMITTED connection of the pool, outside a transaction, and return its result.

    If the connection is lost, `work` runs once more on a new one, so it must be idempotent. Raises DatabaseBusyError
    and DatabaseUnavailableError; after the latter, the work may have been done.
    """
    try:
        return await _on_connection_once(engine, work)
    except ConnectionLostError:  # the pool has discarded its other connections of that time, too
        return await _on_connection_once(engine, work)


async def in_transaction(engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
    """Run `work` as `on_connection` does, in one transaction, which an exception rolls back."""

    async def transaction(connection: AsyncConnection) -> Result:
        async with connection.begin():
            return await work(connection)

    return await on_connection(engine, transaction)


async def _on_connection_once(engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
    with classified_errors():
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="READ COMMITTED")
            return await work(connection)
