"""The settings that turn tracing on."""

from typing import Annotated

from pydantic import Field, field_validator

from core.environment_settings import Allowed, EnvironmentSettings
from core.setting_values import split_url

_URL = Allowed("`http://…`, `https://…`")


class TracingSettings(EnvironmentSettings):
    """Where spans are sent. OpenTelemetry's library reads its other variables itself."""

    otlp_endpoint: Annotated[str, _URL] = Field(
        default="",
        alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="The base URL of an OTLP/HTTP collector, usually with port 4318. Spans are posted to `/v1/traces` "
        "below it.",
    )
    otlp_traces_endpoint: Annotated[str, _URL] = Field(
        default="",
        alias="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        description="The complete URL to which spans are posted. Overrides the base URL.",
    )

    @property
    def spans_url(self) -> str:
        """The URL to which spans are posted; empty when tracing is off."""
        base = self.otlp_endpoint.rstrip("/")
        return self.otlp_traces_endpoint or (f"{base}/v1/traces" if base else "")

    @field_validator("otlp_endpoint", "otlp_traces_endpoint")
    @classmethod
    def _check_url(cls, value: str) -> str:
        if value:
            split_url(value, "http", "https")
        return value
