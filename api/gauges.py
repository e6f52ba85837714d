"""Gauges of what only database and Temporal know, read at most every ten seconds."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, TypeVar

from prometheus_client import Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.ext.asyncio import AsyncEngine

from core.best_effort import best_effort
from core.metrics import SHOP_LIMIT
from core.outage_log import OutageLog
from core.timeouts import run_with_timeout
from holds.errors import HoldsError
from inventory.gauges import active_holds, overdue_holds
from inventory.moments import Moment, read_moments

KEPT_SECONDS = 10.0
"""How long a count is reused, a failed one too."""
_COUNT_SECONDS = 2.0

Answer = TypeVar("Answer")

_Counts = Mapping[str, int] | None
"""By shop; None where Postgres did not answer in time."""


class HoldGauges(Collector):
    """The gauges of a process."""

    def __init__(self, engine: AsyncEngine, open_late_payments: Callable[[], Coroutine[Any, Any, int]]) -> None:
        self._engine = engine
        self._open_late_payments = open_late_payments
        self._outages: dict[str, OutageLog] = {}
        self._refreshing = asyncio.Lock()
        self._refreshed_at: float | None = None
        self._active: _Counts = {}
        self._overdue: _Counts = {}
        self._late_payments: int | None = 0
        self._moments: Mapping[str, float] | None = dict.fromkeys(Moment, 0.0)
        self._text = b""

    async def read(self) -> bytes:
        """Return the gauges' text, counted anew after KEPT_SECONDS. A count that fails leaves out its gauge only."""
        async with self._refreshing:
            if self._refreshed_at is None or time.monotonic() - self._refreshed_at > KEPT_SECONDS:
                active, overdue, self._late_payments, self._moments = await asyncio.gather(
                    self._read("active holds", active_holds(self._engine, SHOP_LIMIT)),
                    self._read("overdue holds", overdue_holds(self._engine, SHOP_LIMIT)),
                    self._counted_late_payments(),
                    self._read("audits and Stripe events", read_moments(self._engine)),
                )
                self._active = active
                # A shop with active holds gets a 0, so that the absence of overdue ones is visible.
                self._overdue = overdue if overdue is None else {**dict.fromkeys(active or (), 0), **overdue}
                self._text = await asyncio.to_thread(generate_latest, self)
                self._refreshed_at = time.monotonic()
            return self._text

    async def _read(self, what: str, work: Coroutine[Any, Any, Answer]) -> Answer | None:
        new = OutageLog("api", fails=f"/metrics has no gauges of {what}", works=f"/metrics has gauges of {what} again")
        return await best_effort(run_with_timeout(_COUNT_SECONDS, work), self._outages.setdefault(what, new))

    async def _counted_late_payments(self) -> int | None:
        try:
            return await run_with_timeout(_COUNT_SECONDS, self._open_late_payments())
        except (HoldsError, TimeoutError):
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
        if self._late_payments is not None:
            yield GaugeMetricFamily(
                "inventory_late_payments_open", "Late payments that are not settled", value=self._late_payments
            )
        if self._moments is not None:
            yield from _times(self._moments)


def _times(moments: Mapping[str, float]) -> Iterator[Metric]:
    audit = GaugeMetricFamily(
        "inventory_audit_timestamp_seconds", "When each part of the audit was last completed", labels=["at"]
    )
    for at, moment in (("stock", Moment.AUDIT_STOCK), ("runs", Moment.AUDIT_RUNS)):
        audit.add_metric([at], moments[moment])
    yield audit
    yield GaugeMetricFamily(
        "inventory_stripe_event_timestamp_seconds",
        "When the last correctly signed Stripe event of the key's mode arrived; 0 if none ever",
        value=moments[Moment.STRIPE_EVENT],
    )
    yield GaugeMetricFamily(
        "inventory_stripe_event_due_timestamp_seconds",
        "When a Stripe event was first due, a minute or more after the last one; 0 if none ever",
        value=moments[Moment.STRIPE_EVENT_DUE],
    )
