"""The real Temporal server: found on PATH, or built from its Go modules once."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from dev.processes import EmbeddedError

VERSION = "1.32.0"
"""What is built; the checksums of its modules are those of Go's checksum database. The images have this tag too."""
SERVER, SQL_TOOL = "temporal-server", "temporal-sql-tool"
_PACKAGES = {SERVER: "cmd/server", SQL_TOOL: "cmd/tools/sql"}


def server_binaries(built: Path, environment: Mapping[str, str], say: Callable[[str], None]) -> Path:
    """Return the folder that has the server and its schema tool: one of PATH, or `built`, made with Go where it lacks.

    Building takes some minutes and 2 GB of Go's cache. Raises EmbeddedError with one line where neither is there.
    """
    path = environment.get("PATH", os.defpath)
    found = shutil.which(SERVER, path=path)
    if found is not None and shutil.which(SQL_TOOL, path=path) is not None:
        return Path(found).parent
    folder = built.absolute() / VERSION
    if all((folder / name).is_file() for name in _PACKAGES):
        return folder
    go = shutil.which("go", path=path)
    if go is None:
        raise EmbeddedError(
            f"the Temporal server is not installed: no {SERVER} and {SQL_TOOL} on PATH, and no Go to build them with"
        )
    say(f"building the Temporal server {VERSION} with {go}, which takes some minutes, once")
    for name, package in _PACKAGES.items():
        _build(go, f"go.temporal.io/server/{package}@v{VERSION}", folder, name)
    return folder


def _build(go: str, package: str, folder: Path, name: str) -> None:
    unfinished = folder / "unfinished"
    made = subprocess.run(
        [go, "install", package],
        env={**os.environ, "GOBIN": str(unfinished)},
        cwd="/",  # outside any other Go module
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        lines = made.stderr.strip().splitlines() or ["go printed nothing"]
        raise EmbeddedError(f"the Temporal server cannot be built: {lines[-1]}", lines[-5:])
    (binary,) = unfinished.iterdir()
    binary.replace(folder / name)
    unfinished.rmdir()
