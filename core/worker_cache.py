"""How many workflows a process may cache in its memory (docs/decisions/0007-worker-settings.md)."""

from core.process_memory import MemoryLimit

MOST = 50_000
"""Some 5 GB, however large the machine is."""
API_PROCESSES = "WEB_CONCURRENCY"
"""The environment variable, uvicorn's, with the number of API processes: they share the memory."""
_LEAST = 100
_KIB = 1024
_CACHED = 100 * _KIB
"""Of one open hold: bench/RESULTS.md has the measured figure, which differs by a fifth."""
_AT_REST = 256 * _KIB * _KIB
"""Of a process without holds (104 MiB), with what requests take."""
_OF_A_MACHINE = 0.25
"""Without a limit of its own, the process shares the machine with Postgres, Temporal and others."""


def cached_workflows(memory: MemoryLimit, processes: int) -> int:
    """Return how many workflows each of the processes may cache: those that fit into its memory, within bounds."""
    usable = memory.size if memory.own else memory.size * _OF_A_MACHINE
    fit = int((usable / max(processes, 1) - _AT_REST) / _CACHED)
    return max(_LEAST, min(fit, MOST))
