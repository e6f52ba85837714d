"""Holds row locks, so that statements wait in the order in which a test wants them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch_on

_LOCK = 'SELECT FROM "InventoryItem" WHERE sku = %(sku)s FOR UPDATE'


@asynccontextmanager
async def holding(engine: AsyncEngine, sku: str) -> AsyncIterator[None]:
    """Hold the lock of the item's row while the block runs."""
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="READ COMMITTED")
        async with connection.begin():
            await fetch_on(connection, _LOCK, {"sku": sku})
            yield
