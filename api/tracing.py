"""The span of a request: which requests have one, and which hold it is about."""

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from opentelemetry.trace import TracerProvider

from holds.workflow_client import HoldKey

_POLLED = frozenset({"/livez", "/readyz", "/metrics", "/api/inventory/health"})
"""Asked by machines every few seconds: spans of them would only hide the others."""


def request_spans(provider: TracerProvider | None) -> TelemetryConfig:
    """Return FastAPI's configuration: a span for each request, or where there is no provider nothing at all."""
    return TelemetryConfig(
        tracing=provider is not None,
        tracer_provider=provider,
        metrics=False,
        logs=False,
        operation_spans=False,
        auto_configure=False,
        exclude=lambda scope: scope.get("path") in _POLLED,
    )


def about(hold: HoldKey) -> None:
    """Name the hold on the span of the request under way; where nothing is traced this does nothing."""
    trace.get_current_span().set_attributes({"holdfast.shop_id": hold.shop_id, "holdfast.hold_id": hold.hold_id})
