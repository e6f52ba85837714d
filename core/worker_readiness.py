"""Whether the processes of a worker poll: told by /readyz, /metrics and one log line for each change."""

import json
from collections.abc import Iterator, MutableSequence
from enum import IntEnum

import structlog
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from temporalio.service import RPCError, RPCStatusCode

from core.error_messages import first_line

_FIX_PAGE = "docs/runbooks/readiness.md"


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

    @property
    def fix(self) -> str:
        """The section of the documentation with the fix."""
        sections = {
            Polling.UNREACHABLE: "temporal",
            Polling.REFUSED: "temporal",
            Polling.NAMESPACE_MISSING: "namespace",
        }
        return f"{_FIX_PAGE}#{sections.get(self, 'workers')}"


def polling_after(error: RuntimeError | RPCError) -> Polling:
    """Return what an error of a connection or a call to Temporal means."""
    if isinstance(error, RPCError):
        if error.status is RPCStatusCode.NOT_FOUND:
            return Polling.NAMESPACE_MISSING
        if error.status in (RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED):
            return Polling.REFUSED
    return Polling.UNREACHABLE


class WorkerReadiness(Collector):
    """The readiness of a worker: all its processes poll."""

    def __init__(self, polling: MutableSequence[int], version: str) -> None:
        self._polling = polling
        self._version = version

    @property
    def ready(self) -> bool:
        """Whether every process polls."""
        return all(state == Polling.POLLS for state in self._polling)

    def collect(self) -> Iterator[Metric]:
        """Yield the gauge."""
        gauge = GaugeMetricFamily("inventory_ready", "1 if every process polls, else 0", labels=["part"])
        gauge.add_metric(["polling"], self.ready)
        yield gauge

    def body(self) -> bytes:
        """Return the answer of /readyz."""
        states = [Polling(state) for state in self._polling]
        failed = next((state for state in states if state is not Polling.POLLS), None)
        answer = {
            "status": "unavailable" if failed is not None else "ok",
            "failing": None if failed is None else "polling",
            "reason": None if failed is None else failed.name.lower(),
            "fix": None if failed is None else failed.fix,
            "processes": len(states),
            "polling": states.count(Polling.POLLS),
            "version": self._version,
        }
        return json.dumps(answer).encode()


class OwnPolling:
    """The state of one process, in its place of what the processes share."""

    def __init__(self, polling: MutableSequence[int], index: int = 0) -> None:
        self._polling = polling
        self._index = index
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger("worker")

    def is_now(self, state: Polling, **fields: object) -> None:
        """Note the state, and log it if it is another than before."""
        before, self._polling[self._index] = self._polling[self._index], state
        if state == before:
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
