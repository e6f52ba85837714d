"""The tracing of a process: off, or spans posted to an OpenTelemetry collector."""

import asyncio
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.tracing_settings import TracingSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_FLUSH_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class ProcessTracing:
    """The tracing of one process. `close` it before the process ends."""

    provider: "TracerProvider | None"
    """Creates the tracers; None when tracing is off."""

    async def close(self) -> None:
        """Export the remaining spans, for at most 3 s; what the collector does not accept by then is lost."""
        if self.provider is None:
            return
        shutdown = threading.Thread(target=self.provider.shutdown, daemon=True)
        shutdown.start()
        await asyncio.to_thread(shutdown.join, _FLUSH_SECONDS)


def start_tracing(settings: TracingSettings, service: str) -> ProcessTracing:
    """Start tracing if the settings name a collector. OTEL_SERVICE_NAME overrides the service name."""
    if not settings.spans_url:
        return ProcessTracing(None)
    from core.spans import make_tracer_provider  # noqa: PLC0415 - its import costs time and memory

    return ProcessTracing(make_tracer_provider(settings.spans_url, service))
