"""Renders the metrics of all the API's processes in a thread, and seldom enough that the event loop keeps its time."""

import asyncio
import os
import time
from asyncio import Lock

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

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
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry), time.thread_time() - began
