"""Creates spans and exports them in the background, without personal data. Imported only when tracing is on."""

import logging
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

_QUERY = "url.query"
_EXCEPTION_TYPE = "exception.type"


def make_tracer_provider(url: str, service: str) -> TracerProvider:
    """Return a provider whose spans are posted to the URL by a background thread: no request waits for an export."""
    ours = Resource.create({SERVICE_NAME: service, SERVICE_VERSION: version("holdfast")})
    provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_RedactingExporter(url)))
    return provider


class _RedactingExporter(SpanExporter):
    """Posts spans without their free text, and logs once when exports start to fail and once when they succeed again.

    While exports fail, spans are lost.
    """

    def __init__(self, url: str) -> None:
        self._exporter = trace_exporter.OTLPSpanExporter(endpoint=url)
        self._log = structlog.get_logger("tracing")
        self._failing = False
        self._errors = _FirstMessage()
        logging.getLogger(trace_exporter.__name__).addFilter(self._errors)
        # It would log "queue full" for every batch.
        logging.getLogger("opentelemetry.sdk._shared_internal").setLevel(logging.ERROR)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Post the spans, retrying for at most OTEL_EXPORTER_OTLP_TIMEOUT."""
        self._errors.first = ""
        result = self._exporter.export([_without_text(span) for span in spans])
        failed = result is not SpanExportResult.SUCCESS
        if self._failing and not failed:
            self._log.info("span export recovered", spans_lost=False)
        if failed and not self._failing:
            self._log.warning(
                "span export fails; spans are lost until it recovers", spans_lost=True, problem=self._errors.first
            )
        self._failing = failed
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]
        logging.getLogger(trace_exporter.__name__).removeFilter(self._errors)


class _FirstMessage(logging.Filter):
    """Suppresses the library's log records, one or more for every failed batch, and keeps the first message."""

    first = ""

    def filter(self, record: logging.LogRecord) -> bool:
        self.first = self.first or record.getMessage()
        return False


def _without_text(span: ReadableSpan) -> ReadableSpan:
    """Return the span without error messages and query strings, which can contain personal data.

    The log has the error messages, under the same trace and span ids.
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


def add_trace_ids(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the ids of the current trace and span to a log record. A structlog processor."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event
