"""A connection, socket or file that a test leaves open fails that test, not a later one."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _leaks_of_a_module_fail_its_last_test() -> Iterator[None]:
    """Collect garbage once the module's own servers have ended.

    What is there when the module begins is frozen, out of the collector's sight for good, so that a collection takes
    milliseconds.
    """
    gc.freeze()
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def _leaks_fail_their_test(_leaks_of_a_module_fail_its_last_test: None) -> Iterator[None]:
    """Collect garbage after each test: a ResourceWarning is an error."""
    yield
    gc.collect()
