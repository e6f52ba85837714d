"""Engines for the tests of the stock: a hurried one, a crowded one, and a server that may be stopped."""

from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.migrate import migrate
from core.database import create_engine
from core.settings import Settings
from dev.postgres import EmbeddedPostgres
from tests.servers import FAST


@pytest.fixture
async def hurried(tables: str) -> AsyncIterator[AsyncEngine]:
    """Waits 100 ms for a lock and 1.1 s for a statement."""
    engine = create_engine(Settings.read({"DATABASE_URL": tables, "INVENTORY_LOCK_TIMEOUT_MS": "100"}))
    yield engine
    await engine.dispose()


@pytest.fixture
async def crowd(tables: str) -> AsyncIterator[AsyncEngine]:
    """Has sixteen connections and patience, so that only a deadlock makes it busy."""
    engine = create_engine(Settings.read({"DATABASE_URL": tables, "INVENTORY_LOCK_TIMEOUT_MS": "4000"}), pool_size=16)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server that the test may stop and start."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("own-postgres"), settings=FAST)
    server.start()
    migrate(server.url)
    yield server
    server.stop()


@pytest.fixture
async def engine_of_own_server(own_server: EmbeddedPostgres) -> AsyncIterator[AsyncEngine]:
    """The product's engine on `own_server`, whose tables are empty."""
    with psycopg.connect(own_server.url) as connection:
        connection.execute(
            'TRUNCATE "InventoryItem", "InventoryHold", "InventoryHoldItem", "InventoryMovement" CASCADE'
        )
    engine = create_engine(Settings.read({"DATABASE_URL": own_server.url}))
    yield engine
    await engine.dispose()
