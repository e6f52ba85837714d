"""Outlives one pytest process to remove its folder and end every process that was started from it.

Run as a program: `guardian.py PID FOLDER`. It acts when its standard input closes or the process PID has ended, however
that happened. A process belongs to the session if its command, its environment or its working directory names FOLDER:
so no start has to be recorded, and none can be missed.
"""

import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

_POLL_SECONDS = 0.1
_POSTGRES_SECONDS = 10.0
"""How long Postgres may take to end by itself. After SIGKILL its shared memory would be left."""
_GIVE_UP_SECONDS = 60.0


def wait_for_the_end_of(pid: int) -> None:
    """Return when standard input is closed or the process, our parent, has ended."""
    while os.getppid() == pid:
        readable, _, _ = select.select([sys.stdin], [], [], _POLL_SECONDS)
        if readable:
            return


def processes_of(folder: Path) -> Iterator[psutil.Process]:
    """Yield the processes that name the folder, without this one and its parent."""
    for process in psutil.process_iter():
        if process.pid not in (os.getpid(), os.getppid()) and any(str(folder) in text for text in _texts(process)):
            yield process


def end_processes_of(folder: Path) -> None:
    """End them all, Postgres in its own way first."""
    started = time.monotonic()
    while (running := list(processes_of(folder))) and time.monotonic() - started < _GIVE_UP_SECONDS:
        gentle = time.monotonic() - started < _POSTGRES_SECONDS
        for process in running:
            with suppress(psutil.Error):
                process.send_signal(signal.SIGQUIT if gentle and process.name() == "postgres" else signal.SIGKILL)
        time.sleep(_POLL_SECONDS)


def remove(folder: Path) -> None:
    """Remove the folder, again while something still writes to it."""
    started = time.monotonic()
    while folder.exists() and time.monotonic() - started < _GIVE_UP_SECONDS:
        shutil.rmtree(folder, ignore_errors=True)


def _texts(process: psutil.Process) -> Iterator[str]:
    with suppress(psutil.Error):
        yield from process.cmdline()
    with suppress(psutil.Error):
        yield from process.environ().values()
    with suppress(psutil.Error):
        yield process.cwd()


if __name__ == "__main__":
    session_folder = Path(sys.argv[2])
    wait_for_the_end_of(int(sys.argv[1]))
    end_processes_of(session_folder)
    remove(session_folder)
