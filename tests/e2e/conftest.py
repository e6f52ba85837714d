"""The product as processes, one deployment for each module that asks for it."""

from collections.abc import AsyncIterator

import pytest

from cli.embedded import EmbeddedPostgres, EmbeddedTemporal
from tests.e2e.deployment import Deployment, database_on, deployed


@pytest.fixture(scope="module")
async def deployment(
    postgres: EmbeddedPostgres, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Deployment]:
    """An API on a database and a Temporal of the module's own, without a worker."""
    temporal = EmbeddedTemporal(None, ui=False)
    temporal.start()
    try:
        with database_on(postgres, migrated_template) as database:
            folder = tmp_path_factory.mktemp("deployment")
            async with deployed(folder, database, temporal.address, INVENTORY_DATABASE_POOL_SIZE="16") as running:
                yield running
    finally:
        temporal.stop()
