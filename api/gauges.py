"""The active and the overdue holds as metrics, asked of Postgres seldom however often they are scraped."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import DatabaseBusyError, DatabaseUnavailableError
from core.metrics import SHOP_LIMIT
from core.timeouts import within
from inventory.gauges import active_holds, overdue_holds

KEPT_SECONDS = 10.0
"""How long an answer is kept, also that there was none."""
_COUNT_SECONDS = 2.0

_Counts = Mapping[str, int] | None
"""By shop; None where Postgres did not answer in time."""


class Census(Collector):
    """The gauges of a process."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._asking = asyncio.Lock()
        self._asked: float | None = None
        self._active: _Counts = {}
        self._overdue: _Counts = {}

    async def ask(self) -> None:
        """Ask Postgres, unless it was asked within KEPT_SECONDS. The two are known, or not, each by itself."""
        async with self._asking:
            if self._asked is None or time.monotonic() - self._asked > KEPT_SECONDS:
                active, overdue = await asyncio.gather(self._counted(active_holds), self._counted(overdue_holds))
                self._active = active
                # A shop that has active holds has a zero: it is seen that none is overdue.
                self._overdue = overdue if overdue is None else {**dict.fromkeys(active or (), 0), **overdue}
                self._asked = time.monotonic()

    async def _counted(self, count: Callable[[AsyncEngine, int], Coroutine[Any, Any, Mapping[str, int]]]) -> _Counts:
        try:
            return await within(_COUNT_SECONDS, count(self._engine, SHOP_LIMIT))
        except (DatabaseBusyError, DatabaseUnavailableError, TimeoutError):
            return None

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges that are known."""
        for name, text, counts in (
            ("inventory_holds_active", "Active holds, from the database", self._active),
            ("inventory_holds_overdue", "Those that should have ended more than a minute ago", self._overdue),
        ):
            if counts is not None:
                gauge = GaugeMetricFamily(name, text, labels=["shop"])
                for shop, holds in counts.items():
                    gauge.add_metric([shop], holds)
                yield gauge
