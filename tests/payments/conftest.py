"""A shop for each test, or one for a module whose tests leave nothing behind but their own holds."""

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from dev.postgres import EmbeddedPostgres
from tests.paying import Shop, running_shop
from tests.servers import database_on


@pytest.fixture
async def shop(database: str, temporal: Client) -> AsyncIterator[Shop]:
    """The product with a worker, and the Stripe simulator."""
    async with running_shop(database, temporal) as running:
        yield running


@pytest.fixture(scope="module")
async def sandbox(postgres: EmbeddedPostgres, migrated_template: str, temporal: Client) -> AsyncIterator[Shop]:
    """One shop for a whole module."""
    with database_on(postgres, migrated_template) as database:
        async with running_shop(database, temporal) as running:
            yield running


@pytest.fixture
async def corner(sandbox: Shop) -> Shop:
    """The same with ten of an item that no other test asks for."""
    return await sandbox.corner()
