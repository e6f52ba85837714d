"""Which release a process runs."""

import os
from importlib.metadata import version as _version_of

COMMIT_VARIABLE = "HOLDFAST_COMMIT"
"""Set by the image, from the build argument of the same name."""


def version() -> str:
    """Return the version of the package."""
    return _version_of("holdfast")


def commit() -> str | None:
    """Return the id of the commit that the image was built from, None elsewhere."""
    return os.environ.get(COMMIT_VARIABLE) or None
