"""The revisions of this release, read from the names of their files: without Alembic, which takes long to import."""

from pathlib import Path

import migrations


def released_revisions() -> frozenset[str]:
    """Return the ids of the revisions; the greatest is the head."""
    files = (Path(migrations.__file__).parent / "versions").glob("[0-9]*_*.py")
    return frozenset(file.name.partition("_")[0] for file in files)
