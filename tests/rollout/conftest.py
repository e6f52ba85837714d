"""Installations of a module's own: their workers poll the product's own task queue and make its schedule."""

from collections.abc import AsyncIterator, Iterator

import pytest

from dev.postgres import EmbeddedPostgres
from dev.temporal import EmbeddedTemporal
from tests.e2e.deployment import Deployment, deployed
from tests.operations.diagnosis import SECRET
from tests.servers import database_on


@pytest.fixture(scope="module")
def own_temporal() -> Iterator[EmbeddedTemporal]:
    """A server in memory that nobody else talks to."""
    server = EmbeddedTemporal(None, ui=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
async def product(
    postgres: EmbeddedPostgres,
    migrated_template: str,
    own_temporal: EmbeddedTemporal,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Deployment]:
    """An API without a worker."""
    with database_on(postgres, migrated_template) as database:
        folder = tmp_path_factory.mktemp("product")
        async with deployed(folder, database, own_temporal.address, STRIPE_WEBHOOK_SECRET=SECRET) as running:
            yield running
