"""A shop with its Stripe, which the commands of the operator look at."""

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from cli.embedded import EmbeddedPostgres
from tests.conftest import _database
from tests.paying import Shop, running_shop


@pytest.fixture(scope="module")
async def shop(postgres: EmbeddedPostgres, migrated_template: str, temporal: Client) -> AsyncIterator[Shop]:
    """One for all tests of a module, which leave it as it was."""
    with _database(postgres, migrated_template) as url:
        async with running_shop(url, temporal) as running:
            yield running
