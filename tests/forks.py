"""Programs of the product as processes of their own, forked from one that has imported the code.

To import it takes a process longer than all else that most tests have it do. What a fork runs, listens on, holds and
loses when it is killed is its own; `holdfast up` and its tests start each process anew.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import cast

from dev.processes import Child
from tests.waiting import LIMIT_SECONDS

_POLL_SECONDS = 0.01
_asking = threading.Lock()


class Fork:
    """One process: what `Child` uses of a `subprocess.Popen`."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        variables: Mapping[str, str],
        folder: Path,
        log: Path | None = None,
    ) -> None:
        """Start it, with these variables only. Without a log, it writes to `out` and `err` in the folder."""
        asked = [module, arguments, dict(variables), str(folder), None if log is None else str(log)]
        with _asking:
            to_forker = _forker().stdin
            assert to_forker is not None
            to_forker.write(f"{json.dumps(asked)}\n")
            to_forker.flush()
        self._name = module
        self._folder = folder
        self.pid = self._read("pid", LIMIT_SECONDS)

    def poll(self) -> int | None:
        """Return its exit code, negative for a signal, or None while it runs."""
        with suppress(FileNotFoundError):
            return int((self._folder / "code").read_text())
        return None

    def wait(self, timeout: float = LIMIT_SECONDS) -> int:
        """Wait for its end and return the exit code. Raises TimeoutExpired."""
        return self._read("code", timeout)

    def send_signal(self, number: signal.Signals) -> None:
        """Send it the signal if it runs."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _read(self, name: str, seconds: float) -> int:
        deadline = time.monotonic() + seconds
        while not (self._folder / name).exists():
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(self._name, seconds)
            time.sleep(_POLL_SECONDS)
        return int((self._folder / name).read_text())


class ForkedChild(Child):
    """A `Child` that is started as a fork."""

    def __init__(self, name: str, module: str, arguments: Sequence[str], *, log: Path, env: Mapping[str, str]) -> None:
        super().__init__(name, (module, *arguments), log=log, env=env)
        self._variables = env

    def start(self) -> None:
        """Start it. It may take a while to be ready."""
        self._log.touch()
        self._log_start = self._log.stat().st_size
        module, *arguments = self._command
        fork = Fork(module, arguments, self._variables, Path(tempfile.mkdtemp()), self._log)
        self._process = cast("subprocess.Popen[bytes]", fork)


@cache
def _forker() -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-m", "tests.forker"], stdin=subprocess.PIPE, text=True)
    atexit.register(process.communicate)
    return process
