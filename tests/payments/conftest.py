"""A shop for a module: emptied for a test, or with an item of the test's own."""

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from dev.postgres import EmbeddedPostgres
from tests.paying import Shop, running_shop
from tests.servers import database_on


@pytest.fixture(scope="module")
async def sandbox(postgres: EmbeddedPostgres, migrated_template: str, temporal: Client) -> AsyncIterator[Shop]:
    """One shop for a whole module."""
    with database_on(postgres, migrated_template) as database:
        async with running_shop(database, temporal) as running:
            yield running


@pytest.fixture
async def shop(sandbox: Shop) -> Shop:
    """The product with a worker, and the Stripe simulator, both empty but for ten of one item."""
    await sandbox.renew()
    return sandbox


@pytest.fixture
async def corner(sandbox: Shop) -> Shop:
    """The same with ten of an item that no other test asks for."""
    return await sandbox.corner()
