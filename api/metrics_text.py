"""Renders the metrics of all the API's processes in a thread, and seldom enough that the event loop keeps its time."""

import asyncio
import os
import time
from asyncio import Lock
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

_SHARE = 10
"""A text is reused for this many times the processor time that it took: callers, who need no token, cause at most a
tenth of one core, however often they call."""


class MetricsText:
    """The text of a process's registry, or of all processes' where they share a folder."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._rendering = Lock()
        self._text = b""
        self._reused_until = 0.0

    async def read(self) -> bytes:
        """Return the text; callers at the same time wait for one rendering."""
        async with self._rendering:
            if time.monotonic() >= self._reused_until:
                self._text, seconds = await asyncio.to_thread(self._render)
                self._reused_until = time.monotonic() + _SHARE * seconds
            return self._text

    def _render(self) -> tuple[bytes, float]:
        began = time.thread_time()
        registry = self._registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            _forget_ended_processes(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry), time.thread_time() - began


def _forget_ended_processes(folder: Path) -> None:
    """Remove the gauges of processes that were killed: what they had in flight has ended."""
    for pid in {int(file.stem.rpartition("_")[2]) for file in folder.glob("gauge_live*.db")}:
        if not Path(f"/proc/{pid}").exists():
            mark_process_dead(pid)  # type: ignore[no-untyped-call]
