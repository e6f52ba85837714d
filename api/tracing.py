"""Which requests get a trace span."""

from fastapi.telemetry import TelemetryConfig
from opentelemetry.trace import TracerProvider

from api.middleware import is_stream

_POLLED = frozenset({"/livez", "/readyz", "/metrics", "/api/inventory/health"})
"""Polled every few seconds: their spans would hide the others."""


def request_spans(provider: TracerProvider | None) -> TelemetryConfig:
    """Return FastAPI's configuration: a span for each request, or where there is no provider nothing at all."""
    return TelemetryConfig(
        tracing=provider is not None,
        tracer_provider=provider,
        metrics=False,
        logs=False,
        operation_spans=False,
        auto_configure=False,
        exclude=lambda scope: scope.get("path") in _POLLED or is_stream(scope),
    )
