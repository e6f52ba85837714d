"""The processes that a supervisor has started."""

from contextlib import suppress

import psutil

from dev.processes import Child


def processes_of(supervisor: Child) -> list[psutil.Process]:
    """Return the worker or API processes that a supervisor has started."""
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(supervisor.pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    return []
