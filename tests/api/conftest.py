"""Servers that a test of the API may stop, freeze and start again."""

from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from temporalio.client import Client

from cli.migrate import migrate
from core.temporal import connect
from dev.postgres import EmbeddedPostgres
from dev.temporal import EmbeddedTemporal
from tests.servers import FAST, database_on
from tests.stack import Stack, running_stack


@pytest.fixture(scope="module")
async def shared(postgres: EmbeddedPostgres, migrated_template: str, temporal: Client) -> AsyncIterator[Stack]:
    """The product for all tests of a module, which must leave it as it was."""
    with database_on(postgres, migrated_template) as url:
        async with running_stack(url, temporal) as running:
            yield running


@pytest.fixture(scope="module")
def _own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path_factory.mktemp("own-postgres"), settings=FAST)
    server.start()
    migrate(server.url)
    yield server
    server.stop()


@pytest.fixture
def own_postgres(_own_postgres: EmbeddedPostgres) -> EmbeddedPostgres:
    """A migrated server of the test's own, its tables empty."""
    with psycopg.connect(_own_postgres.url) as connection:
        connection.execute(
            'TRUNCATE "InventoryItem", "InventoryHold", "InventoryHoldItem", "InventoryMovement" CASCADE'
        )
    return _own_postgres


@pytest.fixture(scope="module")
def own_temporal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedTemporal]:
    """A server of the test's own, which remembers over a stop."""
    server = EmbeddedTemporal(tmp_path_factory.mktemp("own-temporal"), ui=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def own_client(own_temporal: EmbeddedTemporal, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client of `own_temporal`, to which the API under test connects too."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", own_temporal.address)
    return await connect(None)
