"""Which release runs: its version, and the commit from which it was built."""

import subprocess
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

_GIT_SECONDS = 5.0


@cache
def release() -> str:
    """Return the version."""
    return version("holdfast")


@cache
def commit() -> str | None:
    """Return the commit's id: that which the wheel was built from, or that of the checkout; None if unknown."""
    built_from = files("core").joinpath("commit.txt")
    if built_from.is_file():
        return built_from.read_text().strip()
    return checked_out(Path(__file__).parents[1])


def checked_out(folder: Path) -> str | None:
    """Return the commit that is checked out in the folder; None where it is no checkout, or git is not there."""
    if not (folder / ".git").exists():  # git would take that of a folder above
        return None
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_GIT_SECONDS)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return ran.stdout.strip()
