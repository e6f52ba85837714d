"""The state folder of `holdfast up`: locked by one process, readable by its user only."""

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


class StateDir:
    """A locked state folder. Create it with `open_state_dir`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.pids = folder / "pids"
        self.mail = folder / "mail"

    def reset(self) -> None:
        """Delete its contents and keep the lock."""
        for entry in self.folder.iterdir():
            if entry.name in (_MARKER, _LOCK):
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def prepare(self) -> None:
        """Create its folders and rename large logs."""
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
        """Return the role's token, generated on first use."""
        return self._secret(self.token_file(role))

    def webhook_secret(self) -> str:
        """Return the simulator's webhook signing secret, generated on first use."""
        return self._secret(self.folder / "stripe-webhook-secret", prefix="whsec_")

    def remembered_port(self) -> int | None:
        """Return the port that Postgres had last time, or None."""
        try:
            return int(self._postgres_port.read_text())
        except (FileNotFoundError, ValueError):
            return None

    def remember_port(self, port: int) -> None:
        """Store the port of Postgres for the next start."""
        self._write(self._postgres_port, f"{port}\n")

    def write_stack(self, stack: Mapping[str, object]) -> None:
        """Write `stack.json` atomically."""
        self._write(self.folder / "stack.json", json.dumps(stack, indent=2) + "\n")

    def remove_stack(self) -> None:
        """Remove `stack.json`."""
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
def open_state_dir(folder: Path) -> Iterator[StateDir]:
    """Create the state folder if it is missing and hold its lock until the block ends.

    Raises EmbeddedError if another `holdfast up` holds the lock, or the path is no folder, is not writable, or has
    files that are not of `holdfast up`.
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
        yield StateDir(folder)
