"""A failed test shows what its servers have written to their logs meanwhile."""

import os
from collections.abc import Iterator
from pathlib import Path

_LINES = 40
_SUFFIXES = (".log", ".printed")


def sections(folder: Path, since: float) -> Iterator[tuple[str, str]]:
    """Yield name and last lines of each log below the folder that was written to since then, in seconds since 1970."""
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != "data"]  # Postgres's own
        for name in files:
            log = Path(parent) / name
            if log.suffix in _SUFFIXES and log.stat().st_mtime >= since:
                lines = log.read_text(errors="replace").splitlines()[-_LINES:]
                yield f"end of {log.relative_to(folder)}", "\n".join(lines)
