"""Whether the processes of a worker poll: told by /readyz, /metrics and one log line for each change."""

import json
import time
from collections.abc import Iterator, MutableSequence
from dataclasses import dataclass
from enum import IntEnum
from multiprocessing.context import SpawnContext
from typing import Self

import structlog
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from temporalio.service import RPCError, RPCStatusCode

from core.error_messages import first_line
from core.release import commit, release

FIX_PAGE = "docs/runbooks/readiness.md"
_HANGS_SECONDS = 60.0
"""A process that polls says so every five seconds: one that was not heard for so long hangs."""


class Polling(IntEnum):
    """What a process knows of its own polls. A number, so that the processes of a worker can share it."""

    STARTING = 0
    POLLS = 1
    UNREACHABLE = 2
    NAMESPACE_MISSING = 3
    REFUSED = 4
    SILENT = 5
    """Temporal answers, and has seen no poll for longer than a poll lasts."""
    STOPPING = 6
    HANGS = 7
    """The process itself has said nothing for a minute."""

    @property
    def fix(self) -> str:
        """The section of the documentation with the fix."""
        sections = {
            Polling.UNREACHABLE: "temporal",
            Polling.REFUSED: "temporal",
            Polling.NAMESPACE_MISSING: "namespace",
        }
        return f"{FIX_PAGE}#{sections.get(self, 'workers')}"


def polling_after(error: RuntimeError | RPCError) -> Polling:
    """Return what an error of a connection or a call to Temporal means."""
    if isinstance(error, RPCError):
        if error.status is RPCStatusCode.NOT_FOUND:
            return Polling.NAMESPACE_MISSING
        if error.status in (RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED):
            return Polling.REFUSED
    return Polling.UNREACHABLE


@dataclass(frozen=True, slots=True)
class ProcessStates:
    """The state of each process of a worker, and when the process told it, by the machine's monotonic clock."""

    states: MutableSequence[int]
    told_at: MutableSequence[float]

    @classmethod
    def of_this_process(cls) -> Self:
        """Return the state of a worker that is one process."""
        return cls([Polling.STARTING], [0.0])

    @classmethod
    def shared(cls, count: int, context: SpawnContext) -> Self:
        """Return the states that so many processes share with the one that starts them."""
        return cls(context.Array("b", count, lock=False), context.Array("d", count, lock=False))

    def tell(self, index: int, state: Polling) -> Polling:
        """Set the state of a process, and return that before."""
        before = Polling(self.states[index])
        self.told_at[index] = time.monotonic()
        self.states[index] = state
        return before

    def now(self) -> list[Polling]:
        """Return the states; a process that polled and is silent since `hangs`."""
        heard_since = time.monotonic() - _HANGS_SECONDS
        return [
            Polling.HANGS if state == Polling.POLLS and told_at < heard_since else Polling(state)
            for state, told_at in zip(self.states, self.told_at, strict=True)
        ]


class WorkerReadiness(Collector):
    """The readiness of a worker: all its processes poll."""

    def __init__(self, polling: ProcessStates) -> None:
        self._polling = polling

    @property
    def ready(self) -> bool:
        """Whether every process polls."""
        return all(state is Polling.POLLS for state in self._polling.now())

    def collect(self) -> Iterator[Metric]:
        """Yield the gauge."""
        gauge = GaugeMetricFamily("inventory_ready", "1 if every process polls, else 0", labels=["part"])
        gauge.add_metric(["polling"], self.ready)
        yield gauge

    def body(self) -> bytes:
        """Return the answer of /readyz."""
        states = self._polling.now()
        failed = next((state for state in states if state is not Polling.POLLS), None)
        answer = {
            "status": "unavailable" if failed is not None else "ok",
            "failing": None if failed is None else "polling",
            "reason": None if failed is None else failed.name.lower(),
            "fix": None if failed is None else failed.fix,
            "processes": len(states),
            "polling": states.count(Polling.POLLS),
            "version": release(),
            "commit": commit(),
        }
        return json.dumps(answer).encode()


class OwnPolling:
    """The state of one process, in its place of what the processes share."""

    def __init__(self, polling: ProcessStates, index: int = 0) -> None:
        self._polling = polling
        self._index = index
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger("worker")

    def is_now(self, state: Polling, **fields: object) -> None:
        """Note the state, and log it if it is another than before."""
        if self._polling.tell(self._index, state) is state:
            return
        if state is Polling.POLLS:
            self._log.info("worker polls", **fields)
        elif state is Polling.STOPPING:
            self._log.info("worker is stopping; running tasks will finish", **fields)
        else:
            self._log.error("worker does not poll", reason=state.name.lower(), fix=state.fix, **fields)

    def failed(self, error: RuntimeError | RPCError) -> None:
        """Note what the error means."""
        self.is_now(polling_after(error), problem=first_line(error))
