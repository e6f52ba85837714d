"""Which release a process runs: its version, and the commit from which it was built."""

import os
from functools import cache
from importlib.metadata import version


@cache
def release() -> str:
    """Return the version."""
    return version("holdfast")


@cache
def commit() -> str | None:
    """Return the commit's id, which the image has in HOLDFAST_COMMIT; None if unknown."""
    return os.environ.get("HOLDFAST_COMMIT") or None
