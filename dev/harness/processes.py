"""The processes that a supervisor has started."""

from contextlib import suppress

import psutil

from dev.processes import Child


def processes_of(supervisor: Child) -> list[psutil.Process]:
    """Return the worker or API processes that a supervisor has started."""
    children: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(supervisor.pid).children()
    return [child for child in children if _is_spawned(child)]


def _is_spawned(process: psutil.Process) -> bool:
    try:
        return "spawn_main" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False
