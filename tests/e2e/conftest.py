"""The product as processes, one deployment for each module that asks for it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from dev.postgres import EmbeddedPostgres
from dev.temporal import EmbeddedTemporal
from tests.e2e.deployment import Deployment, deployed
from tests.e2e.up import Up, started_up
from tests.servers import database_on


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


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    """Yield a started `holdfast up`, in a folder that other users may not enter. Each test leaves it running."""
    with started_up() as one:
        yield one


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return where the state of `fresh` is kept."""
    return tmp_path / "home"


@pytest.fixture
def fresh(home: Path) -> Iterator[Up]:
    """Yield one that is not started yet."""
    one = Up(home)
    yield one
    one.end()
