"""The settings that turn tracing on."""

from pydantic import BaseModel, Field, field_validator

from core.alert_settings import checked_url


class TracingSettings(BaseModel):
    """Where spans are sent. OpenTelemetry's library reads its other variables itself."""

    otlp_endpoint: str = Field(default="", alias="OTEL_EXPORTER_OTLP_ENDPOINT")
    """A collector's base address for OTLP over HTTP; spans are posted to `/v1/traces` below it."""
    otlp_traces_endpoint: str = Field(default="", alias="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    """The whole address for spans, where it is another."""

    @property
    def spans_url(self) -> str:
        """The URL to which spans are posted; empty when tracing is off."""
        base = self.otlp_endpoint.rstrip("/")
        return self.otlp_traces_endpoint or (f"{base}/v1/traces" if base else "")

    @field_validator("otlp_endpoint", "otlp_traces_endpoint")
    @classmethod
    def _check_url(cls, value: str) -> str:
        if value:
            checked_url(value, "http", "https")
        return value
