"""Child processes that can be found and stopped after a crash of their parent."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

STOP_SECONDS = 10.0
"""How long a process may take to end by itself before it is killed."""
START_SECONDS = 60.0
"""How long a server may take until it is ready, recovery after a crash included."""
INSTALL = "`make up` installs it"
"""How to fix a missing wheel."""
_POLL_SECONDS = 0.02
_TAIL_BYTES = 65_536
_TRAIL_LINES = 5


def nothing() -> None:
    """Do nothing: the default of a `check_interrupt`."""


class EmbeddedError(Exception):
    """A server or program cannot run. The message is one line for people."""

    def __init__(self, message: str, trail: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.trail = trail
        """The last lines that the process printed."""


class Child:
    """One child process in a session of its own: a terminal's Ctrl-C reaches it only through its parent.

    Its output is appended to `log`. With a `pid_file`, a child that an earlier, killed parent left behind is stopped
    before the new one starts; without one only this object can stop it.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        pid_file: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self._command = command
        self._log = log
        self._env = env
        self._cwd = cwd
        self._pid_file = pid_file
        self._stop_signal = stop_signal
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int:
        """The process's id. Raises EmbeddedError before the first start."""
        if self._process is None:
            raise EmbeddedError(f"{self.name} has not been started")
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs or before its first start; negative is the signal that ended it."""
        return None if self._process is None else self._process.poll()

    @property
    def alive(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def output(self) -> str:
        """Return what it has printed since its last start, at most the last 64 KiB."""
        with suppress(FileNotFoundError), self._log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - _TAIL_BYTES))
            return log.read().decode(errors="replace")
        return ""

    def start(self) -> None:
        """Start it, after a leftover of an earlier parent was stopped. It may take a while to be ready."""
        if self._pid_file is not None:
            stop_recorded(self._pid_file, self._stop_signal)
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            with self._log.open("ab") as log:
                self._log_start = log.tell()
                self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self._env,
                    cwd=self._cwd,
                    start_new_session=True,
                )
            if self._pid_file is not None:
                self._pid_file.write_text(f"{self.pid} {psutil.Process(self.pid).create_time()}\n")
        except OSError as error:
            self.stop(0)
            raise EmbeddedError(f"{self.name} cannot be started: {error}") from error
        except psutil.NoSuchProcess:
            return  # it ended already; wait_until reports it

    def wait_until(
        self, ready: Callable[[], bool], seconds: float, check_interrupt: Callable[[], None] = nothing
    ) -> None:
        """Wait until `ready` answers true, calling `check_interrupt` repeatedly, which may raise to give up.

        Raises EmbeddedError when the process ends first or the seconds are over.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            self.require_alive()
            if time.monotonic() > deadline:
                complaint = f"{self.name} was not ready within {seconds:.0f} s: {self._complaint()}"
                raise EmbeddedError(complaint, self._last_lines())
            check_interrupt()
            time.sleep(_POLL_SECONDS)

    def require_alive(self) -> None:
        """Raise EmbeddedError, with its last output, if it has ended."""
        if self.exit_code is not None:
            raise EmbeddedError(f"{self.name} ended ({self.ending}): {self._complaint()}", self._last_lines())

    @property
    def ending(self) -> str:
        """Its exit code or signal, for people. Empty while it runs."""
        code = self.exit_code
        if code is None:
            return ""
        return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"

    def ask_to_stop(self) -> None:
        """Send the signal that ends it gracefully, and do not wait."""
        if self.alive:
            self._signal(self._stop_signal)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """End it and all of its process group: gracefully within the seconds, then by force. May be repeated."""
        if self._process is None:
            return
        if self.alive and seconds > 0:
            self._signal(self._stop_signal)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        _kill_group(self.pid)
        self._process.wait()
        if self._pid_file is not None:
            self._pid_file.unlink(missing_ok=True)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _last_lines(self) -> list[str]:
        return [line.rstrip() for line in self.output().splitlines() if line.strip()][-_TRAIL_LINES:]

    def _complaint(self) -> str:
        lines = [line.strip() for line in self.output().splitlines() if line.strip()]
        serious = [line for line in lines if "FATAL" in line or "PANIC" in line]
        return (serious or lines or ["it printed nothing"])[-1]


def stop_recorded(pid_file: Path, stop_signal: signal.Signals = signal.SIGTERM) -> None:
    """Stop the process that the file names if that very process still runs, and remove the file."""
    with suppress(OSError, ValueError, psutil.Error):
        pid, created = pid_file.read_text().split()
        process = psutil.Process(int(pid))
        if process.create_time() == float(created):
            process.send_signal(stop_signal)
            if not wait_until_gone([process]):
                _kill_group(process.pid)
                wait_until_gone([process])
    pid_file.unlink(missing_ok=True)


def wait_until_gone(processes: Sequence[psutil.Process]) -> bool:
    """Wait until they have ended, 10 s at most, and return whether they have.

    A zombie has: in a container without an init, nobody ever reaps what a killed parent left.
    """
    deadline = time.monotonic() + STOP_SECONDS
    while any(runs(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def runs(process: psutil.Process) -> bool:
    """Return whether it has not ended, also where it ends while it is asked."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
