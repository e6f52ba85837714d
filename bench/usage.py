"""CPU seconds and memory of a process and its children."""

from contextlib import suppress
from dataclasses import dataclass

import psutil


def _tree(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that the process and its children, ended ones too, have used until now."""
    total = 0.0
    for process in _tree(pid):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def machine_busy_seconds() -> float:
    """Return the CPU time that everything on this machine has used until now."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


@dataclass(frozen=True)
class Memory:
    """Memory of a process and its children, in MiB: resident and unique."""

    resident: float
    unique: float


def memory(pid: int) -> Memory:
    """Return the memory that the process and its children use now."""
    resident = unique = 0
    for process in _tree(pid):
        with suppress(psutil.NoSuchProcess):
            info = process.memory_full_info()
            resident += info.rss
            unique += info.uss
    return Memory(resident / 2**20, unique / 2**20)
