"""A shop for each test."""

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from tests.paying import Shop, running_shop


@pytest.fixture
async def shop(database: str, temporal: Client) -> AsyncIterator[Shop]:
    """The product with a worker, and the Stripe simulator."""
    async with running_shop(database, temporal) as running:
        yield running
