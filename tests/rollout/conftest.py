"""A Temporal of a module's own: its workers poll the product's own task queue and make its schedule."""

from collections.abc import Iterator

import pytest

from cli.embedded import EmbeddedTemporal


@pytest.fixture(scope="module")
def own_temporal() -> Iterator[EmbeddedTemporal]:
    """A server in memory that nobody else talks to."""
    server = EmbeddedTemporal(None, ui=False)
    server.start()
    yield server
    server.stop()
