"""The settings of the API's connections."""

from pydantic import Field

from core.environment_settings import EnvironmentSettings


class ApiSettings(EnvironmentSettings):
    """Limits for clients that hold a connection without a complete request on it."""

    api_connections: int = Field(
        default=800,
        ge=10,
        le=65_535,
        alias="HOLDFAST_API_CONNECTIONS",
        description="Connections per process. At the limit, the connection that has waited longest for its client is "
        "closed for each new one. A process whose limit of open files (`ulimit -n`) is too low for it uses fewer, and "
        "logs a warning.",
    )
    api_header_seconds: int = Field(
        default=10,
        ge=1,
        le=300,
        alias="HOLDFAST_API_HEADER_SECONDS",
        description="How long the header of a request may take to arrive, from the start of the connection or the "
        "header's first byte, before the answer is 408 `request_timed_out`.",
    )
    api_body_seconds: int = Field(
        default=60,
        ge=1,
        le=3600,
        alias="HOLDFAST_API_BODY_SECONDS",
        description="The same for the body, from the end of the header. A client that reads nothing of its answer for "
        "this long is disconnected.",
    )
