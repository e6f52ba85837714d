"""Whether this process can do its work: looked at every few seconds, told to health, to /metrics and in the log."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import structlog
from prometheus_client import Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from temporalio.client import Client

from api.readiness_checks import (
    NO_POSTGRES,
    NO_TEMPORAL,
    UNKNOWN,
    Part,
    Parts,
    PostgresChecks,
    TemporalChecks,
)
from core.database import create_engine
from core.outage_log import OutageLog
from core.settings import Mode, Settings
from core.worker_readiness import FIX_PAGE

PARTS: tuple[Part, ...] = ("postgres_write", "migrations", "temporal", "namespace", "search_attributes", "workers")
"""Causes before their consequences."""
_REFRESH_SECONDS = 5.0
_KEPT_SECONDS = 1.0
"""How long what a look found is told to whoever asks, without another look."""
_LOOK_SECONDS = 3.0
_CLOSE_SECONDS = 1.0
_LOCK_MS = 1000
"""A look does not wait for a lock as long as a checkout does."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was found at one time."""

    parts: Parts
    needed: tuple[Part, ...]
    """Without these, no request of this mode can be served."""

    @property
    def ready(self) -> bool:
        """Whether this process should be given requests."""
        return not any(self.parts[part].failed for part in self.needed)

    @property
    def failing(self) -> Part | None:
        """The part that failed, and of several the cause: a needed one first."""
        failed = [part for part in PARTS if self.parts[part].failed]
        return next((part for part in failed if part in self.needed), failed[0] if failed else None)


class Readiness(Collector):
    """The readiness of a process of the API."""

    def __init__(self, settings: Settings, client: Client, task_queue: str) -> None:
        patience = {"lock_timeout_ms": min(settings.lock_timeout_ms, _LOCK_MS)}
        self._engine = create_engine(settings.model_copy(update=patience), pool_size=1)
        self._postgres = _OneAtATime(PostgresChecks(self._engine, settings).look, NO_POSTGRES)
        self._temporal = _OneAtATime(TemporalChecks(client, settings, task_queue).look, NO_TEMPORAL)
        self._needed = _needed(settings)
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger("api")
        self._refreshing = asyncio.Lock()
        self._look: Look | None = None
        self._looked_at = 0.0
        self._failed_since: dict[Part, float] = {}

    async def read(self) -> Look:
        """Return what the last look found, or after _KEPT_SECONDS another one. Those who ask meanwhile share it."""
        async with self._refreshing:
            if self._look is None or time.monotonic() - self._looked_at > _KEPT_SECONDS:
                postgres, temporal = await asyncio.gather(self._postgres(), self._temporal())
                found = {**postgres, **temporal}
                self._look = Look({part: found.get(part, UNKNOWN) for part in PARTS}, self._needed)
                self._looked_at = time.monotonic()
                self._log_changes(self._look)
            return self._look

    @asynccontextmanager
    async def kept_up(self) -> AsyncIterator[None]:
        """Look every few seconds while the block runs, so that a fault is told although nobody asks."""
        task = asyncio.create_task(self._keep_looking())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await asyncio.gather(self._postgres.close(), self._temporal.close())
            await self._engine.dispose()

    async def _keep_looking(self) -> None:
        while True:
            await self.read()
            in_doubt = self._postgres.in_doubt or self._temporal.in_doubt
            await asyncio.sleep(_KEPT_SECONDS if in_doubt else _REFRESH_SECONDS)

    def _log_changes(self, look: Look) -> None:
        for part, found in look.parts.items():
            since = self._failed_since.get(part)
            if found.failed and since is None:
                self._failed_since[part] = time.monotonic()
                log = self._log.warning if look.ready else self._log.error
                log(
                    "a part is not ready",
                    part=part,
                    reason=found.reason,
                    detail=found.detail,
                    fix=fix_of(part),
                    ready=look.ready,
                )
            elif found.ok and since is not None:
                del self._failed_since[part]
                seconds = round(time.monotonic() - since)
                self._log.info("a part is ready again", part=part, failed_seconds=seconds, ready=look.ready)

    def text(self) -> bytes:
        """Return the gauge's text, as the last look found the parts."""
        return generate_latest(self)

    def collect(self) -> Iterator[Metric]:
        """Yield the gauge, without the parts of which nothing is known."""
        text = "1 if the part is ready, 0 if it failed; absent while another part's failure hides it"
        gauge = GaugeMetricFamily("inventory_ready", text, labels=["part"])
        for part, found in self._look.parts.items() if self._look else ():
            if found.ok or found.failed:
                gauge.add_metric([part], found.ok)
        yield gauge


def fix_of(part: Part) -> str:
    """Return the section of the documentation with the fix."""
    return f"{FIX_PAGE}#{part}"


def _needed(settings: Settings) -> tuple[Part, ...]:
    """Return the parts without which no request of the mode can be served.

    Workers are none of them: docs/decisions/0056-what-takes-an-api-out-of-rotation.md.
    """
    if settings.bypass:
        return ()
    if settings.mode is Mode.RESERVE_TTL:
        return ("postgres_write", "migrations", "temporal", "namespace", "search_attributes")
    return ("postgres_write", "migrations")


class _OneAtATime:
    """A look that is limited in time and never runs twice at once: where a server hangs, looks do not pile up.

    A server that answered before is called unreachable or locked by the second look in a row: on a busy machine one
    is late, and a migration locks a table for a moment.
    """

    def __init__(self, look: Callable[[], Awaitable[Parts]], hangs: Parts) -> None:
        self._look = look
        self._hangs = hangs
        self._task: asyncio.Task[Parts] | None = None
        self._last: Parts | None = None
        self._defects = OutageLog("api", fails="a readiness check is defective", works="a readiness check works again")
        self.in_doubt = False
        """Whether the last look was the first that was late."""

    async def __call__(self) -> Parts:
        """Return what is found within _LOOK_SECONDS."""
        found = await self._found()
        late = any(part.reason in ("unreachable", "locked") for part in found.values())
        if self._last is not None and late and not self.in_doubt:
            self.in_doubt = True
            return self._last
        # Once it is said, it stays said until the server answers.
        self.in_doubt = False
        self._last = None if late else found
        return found

    async def _found(self) -> Parts:
        """Look, or wait for the look before, which was given up and has not ended."""
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._look())
        done, _ = await asyncio.wait({self._task}, timeout=_LOOK_SECONDS)
        if not done:
            self._task.cancel()
        elif not self._task.cancelled():
            if (defect := self._task.exception()) is None:
                self._defects.worked()
                return self._task.result()
            self._defects.failed(defect, defect=True)
        return self._hangs

    async def close(self) -> None:
        """Give up the look, and wait a moment for its end."""
        if self._task is not None and self._task.cancel():
            await asyncio.wait({self._task}, timeout=_CLOSE_SECONDS)
