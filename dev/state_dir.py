"""The state folder of `holdfast up`: one owner at a time, secrets for its user only, emptied only when it is ours."""

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dev.processes import EmbeddedError

_MARKER = "holdfast-home"
_LOCK = "lock"
_SECRET_BYTES = 32
_LOG_BYTES = 16_000_000


class Home:
    """An opened state folder. Make one with `opened`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.pids = folder / "pids"
        self.mail = folder / "mail"

    def reset(self) -> None:
        """Delete what is in it, and keep owning it."""
        for entry in self.folder.iterdir():
            if entry.name in (_MARKER, _LOCK):
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def prepare(self) -> None:
        """Make its folders and put logs aside that have grown large."""
        for folder in (self.logs, self.pids):
            folder.mkdir(mode=0o700, exist_ok=True)
        for log in self.logs.glob("*.log"):
            if log.stat().st_size > _LOG_BYTES:
                log.replace(log.with_suffix(".log.old"))

    @property
    def simulator_state(self) -> Path:
        """Where the Stripe simulator keeps its sessions and payments."""
        return self.folder / "simulator.json"

    def token_file(self, role: str) -> Path:
        """Where the role's token is kept, unless the environment gives one."""
        return self.folder / f"{role}-token"

    def token(self, role: str) -> str:
        """Return the role's token, made on first use."""
        return self._secret(self.token_file(role))

    def webhook_secret(self) -> str:
        """Return what the Stripe simulator signs its webhooks with, made on first use."""
        return self._secret(self.folder / "stripe-webhook-secret", prefix="whsec_")

    def remembered_port(self) -> int | None:
        """Return the port that Postgres had last time, if that is known."""
        try:
            return int(self._postgres_port.read_text())
        except (FileNotFoundError, ValueError):
            return None

    def remember_port(self, port: int) -> None:
        """Keep the port of Postgres for the next start."""
        self._write(self._postgres_port, f"{port}\n")

    def write_stack(self, stack: Mapping[str, object]) -> None:
        """Publish what runs, in one step: a reader sees all of it or none."""
        self._write(self.folder / "stack.json", json.dumps(stack, indent=2) + "\n")

    def remove_stack(self) -> None:
        """Say that nothing is known to run."""
        (self.folder / "stack.json").unlink(missing_ok=True)

    @property
    def _postgres_port(self) -> Path:
        return self.folder / "postgres-port"

    def _secret(self, file: Path, prefix: str = "") -> str:
        secret = file.read_text().strip() if file.exists() else ""
        if not secret:
            secret = f"{prefix}{secrets.token_hex(_SECRET_BYTES)}"
            self._write(file, f"{secret}\n")
        return secret

    def _write(self, file: Path, text: str) -> None:
        draft = file.with_name(f".{file.name}.draft")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:  # noqa: PTH123 - a mode
            out.write(text)
        draft.replace(file)


@contextmanager
def opened(folder: Path) -> Iterator[Home]:
    """Own the state folder, made if it is missing, until the block ends.

    Raises EmbeddedError where that cannot be: in use by another `holdfast up`, not a folder, not writable, not ours.
    """
    folder = folder.absolute()
    if folder.exists() and not folder.is_dir():
        raise EmbeddedError(f"{folder} is not a folder; move it away or name another with HOLDFAST_HOME")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(folder.iterdir()) and not (folder / _MARKER).is_file():
            raise EmbeddedError(f"{folder} has files that are not of `holdfast up`; name another with HOLDFAST_HOME")
        (folder / _MARKER).write_text("State of `holdfast up`; `holdfast up --reset` deletes all that is in here.\n")
        lock = (folder / _LOCK).open("a+")
    except OSError as error:
        raise EmbeddedError(
            f"the state folder {folder} cannot be used ({error.strerror}); name another with HOLDFAST_HOME"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise EmbeddedError(
                f"another `holdfast up` (process {lock.read().strip()}) runs on {folder}; stop it, or name another"
                " folder with HOLDFAST_HOME"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield Home(folder)
