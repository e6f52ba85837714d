"""The spans of a process, posted to a collector in the background: no request waits for one."""

import asyncio
import logging
import threading
from collections.abc import MutableMapping, Sequence
from importlib.metadata import version
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Status

from core.tracing import Tracing

_FLUSH_SECONDS = 3.0
"""A process that stops waits no longer than this for a collector."""
_QUERY = "url.query"
_EXCEPTION_TYPE = "exception.type"


class Spans(Tracing):
    """Makes the spans of a process and delivers them in the background. `close` it at the end."""

    provider: TracerProvider

    def __init__(self, url: str, service: str) -> None:
        ours = Resource.create({SERVICE_NAME: service, SERVICE_VERSION: version("holdfast")})
        self.provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        self.provider.add_span_processor(BatchSpanProcessor(_Delivery(url)))

    async def close(self) -> None:
        """Deliver what is left, for _FLUSH_SECONDS at most; what a collector does not take by then is lost."""
        flushing = threading.Thread(target=self.provider.shutdown, daemon=True)
        flushing.start()
        await asyncio.to_thread(flushing.join, _FLUSH_SECONDS)


class _Delivery(SpanExporter):
    """Posts spans without the texts in them, and logs one line when they are not taken, one when they are again."""

    def __init__(self, url: str) -> None:
        self._collector = trace_exporter.OTLPSpanExporter(endpoint=url)
        self._log = structlog.get_logger("tracing")
        self._taken = True
        self._complaints = _Complaints()
        logging.getLogger(trace_exporter.__name__).addFilter(self._complaints)
        logging.getLogger("opentelemetry.sdk._shared_internal").setLevel(logging.ERROR)  # «queue full», over and over

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Post the spans; they are lost where the collector does not take them within OTEL_EXPORTER_OTLP_TIMEOUT."""
        self._complaints.first = ""
        result = self._collector.export([_without_texts(span) for span in spans])
        taken = result is SpanExportResult.SUCCESS
        if taken and not self._taken:
            self._log.info("spans are taken again")
        if self._taken and not taken:
            self._log.warning("spans are not taken and are lost until they are", problem=self._complaints.first)
        self._taken = taken
        return result

    def shutdown(self) -> None:
        self._collector.shutdown()  # type: ignore[no-untyped-call]
        logging.getLogger(trace_exporter.__name__).removeFilter(self._complaints)


class _Complaints(logging.Filter):
    """Keeps the first that the library says of a failure, instead of lines for every batch."""

    first = ""

    def filter(self, record: logging.LogRecord) -> bool:
        self.first = self.first or record.getMessage()
        return False


def _without_texts(span: ReadableSpan) -> ReadableSpan:
    """Return the span without what an error said and a query asked: addresses of people may stand there.

    The log has the errors' words, with the span's ids.
    """
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes={name: value for name, value in (span.attributes or {}).items() if name != _QUERY},
        events=[
            Event(event.name, {_EXCEPTION_TYPE: (event.attributes or {}).get(_EXCEPTION_TYPE, "")}, event.timestamp)
            for event in span.events
        ],
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def trace_ids(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add to a log line the ids of the trace and span under which it is written."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event
