"""Tracing: whether spans are made, and where they go. The library that makes them is imported only where they are."""

from typing import TYPE_CHECKING

from pydantic import BaseModel, Field, field_validator

from core.alert_settings import checked_url

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider


class TracingSettings(BaseModel):
    """What turns tracing on. OpenTelemetry's library reads its other variables itself."""

    otlp_endpoint: str = Field(default="", alias="OTEL_EXPORTER_OTLP_ENDPOINT")
    """A collector's base address for OTLP over HTTP; spans are posted to `/v1/traces` below it."""
    otlp_traces_endpoint: str = Field(default="", alias="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    """The whole address for spans, where it is another."""

    @property
    def spans_url(self) -> str:
        """Where spans are posted to; empty where tracing is off."""
        base = self.otlp_endpoint.rstrip("/")
        return self.otlp_traces_endpoint or (f"{base}/v1/traces" if base else "")

    @field_validator("otlp_endpoint", "otlp_traces_endpoint")
    @classmethod
    def _collector(cls, value: str) -> str:
        if value:
            checked_url(value, "http", "https")
        return value


class Tracing:
    """The tracing of one process; this is the one that is off. Closed at the end."""

    provider: "TracerProvider | None" = None

    async def close(self) -> None:
        """Deliver what is left."""


def start_tracing(settings: TracingSettings, service: str) -> Tracing:
    """Begin to trace this process where the settings say so, as the service unless OTEL_SERVICE_NAME names another."""
    if not settings.spans_url:
        return Tracing()
    from core.spans import Spans  # noqa: PLC0415 - takes time and memory, which only those who trace pay

    return Spans(settings.spans_url, service)
