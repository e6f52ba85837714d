"""How many workflows a process may cache in its memory (docs/decisions/0007-worker-settings.md)."""

import os

from core.process_memory import MemoryLimit, memory_limit

MOST = 30_000
"""Some 3 GB, however large the machine is: a scan for garbage stops the process for as long as the cache is large
(core/garbage_collection.py)."""
API_PROCESSES = "WEB_CONCURRENCY"
"""The environment variable, uvicorn's, with the number of API processes: they share the memory."""
_LEAST = 100
_KIB = 1024
_CACHED = 128 * _KIB
"""Of one open hold of one line, 89 KiB (bench/RESULTS.md), with room for more lines and for garbage."""
_AT_REST = 256 * _KIB * _KIB
"""Of a process without holds (104 MiB), with what requests take."""
_OF_A_MACHINE = 0.25
"""Without a limit of its own, the process shares the machine with Postgres, Temporal and others."""


def cached_workflows(memory: MemoryLimit, processes: int) -> int:
    """Return how many workflows each of the processes may cache: those that fit into its memory, within bounds."""
    usable = memory.size if memory.own else memory.size * _OF_A_MACHINE
    fit = int((usable / max(processes, 1) - _AT_REST) / _CACHED)
    return max(_LEAST, min(fit, MOST))


def cached_by_api() -> int:
    """Return how many workflows this API process may cache."""
    return cached_workflows(memory_limit(), int(os.environ.get(API_PROCESSES, "1")))
