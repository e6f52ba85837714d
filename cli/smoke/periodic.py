"""`holdfast smoke --every`: runs the scenario again and again, and serves what it found as metrics."""

import time

import structlog
from prometheus_client import CollectorRegistry, Gauge

from cli.smoke.client import ApiAccess, SmokeClient
from cli.smoke.scenario import run_scenario
from cli.smoke.steps import SmokeResult
from core.error_messages import first_line


class PeriodicSmoke:
    """The smoke test of one process, with metrics of its own: nothing of its shop is counted elsewhere."""

    def __init__(self, access: ApiAccess, every: float, registry: CollectorRegistry, *, with_expiry: bool) -> None:
        self._access = access
        self._every = every
        self._with_expiry = with_expiry
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger("smoke")
        self._failures = Gauge(
            "holdfast_smoke_failures", "How many smoke tests failed one after the other, until now", registry=registry
        )
        self._ended_at = Gauge(
            "holdfast_smoke_timestamp_seconds",
            "When the last smoke test ended, or this process began",
            registry=registry,
        )
        self._ended_at.set_to_current_time()
        Gauge("holdfast_smoke_interval_seconds", "How often it runs", registry=registry).set(every)
        self._took = Gauge("holdfast_smoke_seconds", "How long the last smoke test took", registry=registry)

    def run(self) -> None:
        """Run it every so often until SIGTERM or Ctrl-C, which raises KeyboardInterrupt after cleaning up."""
        while True:
            began = time.monotonic()
            self.run_once()
            time.sleep(max(self._every - (time.monotonic() - began), 0))

    def run_once(self) -> SmokeResult:
        """Run it, log one line, and set the metrics."""
        began, result, error = time.monotonic(), SmokeResult(), None
        try:
            with self._access.connect() as http:
                run_scenario(SmokeClient(http, self._access), result, with_expiry=self._with_expiry)
        except Exception as defect:  # noqa: BLE001 - if the process ended, the count of failures would begin again at 0
            error = defect
        seconds = time.monotonic() - began
        self._took.set(seconds)
        self._ended_at.set_to_current_time()
        if error is not None:
            self._failures.inc()
            problem = f"{type(error).__name__} {first_line(error)}"
            self._log.error("smoke test failed", problem=problem, seconds=round(seconds, 3), exc_info=error)
        elif result.ok:
            self._failures.set(0)
            self._log.info("smoke test passed", seconds=round(seconds, 3))
        else:
            self._failures.inc()
            failed = next(step for step in result.steps if not step.ok)
            self._log.error("smoke test failed", step=failed.name, problem=failed.found, seconds=round(seconds, 3))
        return result
