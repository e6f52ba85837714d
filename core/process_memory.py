"""How much memory this process may use: the limit of its control group, else the machine's memory."""

import os
from dataclasses import dataclass
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_FILES = {"": "memory.max", "memory": "memory.limit_in_bytes"}
"""The file of a limit, by the name of its controller; version 2 has one hierarchy without a name."""


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """Bytes, and whether they are this process's and its group's alone."""

    size: int
    own: bool


def memory_limit(groups: Path = _GROUPS, own: Path = _OWN) -> MemoryLimit:
    """Return the smallest limit of the control groups that this process is in, or the machine's memory.

    `groups` is where control groups are mounted, `own` the kernel's list of this process's groups.
    """
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [size for size in _limits(groups, own) if size < machine]
    return MemoryLimit(min(limits), own=True) if limits else MemoryLimit(machine, own=False)


def _limits(groups: Path, own: Path) -> list[int]:
    try:
        lines = own.read_text().splitlines()
    except OSError:  # not Linux
        return []
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for name in {*controllers.split(",")} & {*_FILES}:
            mount = groups / name
            # In a container, the path may be that of the host, while the container's group is mounted as the root.
            group = mount / path.lstrip("/")
            limits += [
                _limit(folder / _FILES[name]) for folder in (group, *group.parents) if folder.is_relative_to(mount)
            ]
    return [limit for limit in limits if limit is not None]


def _limit(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None  # "max"
