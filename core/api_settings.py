"""The settings of `holdfast api` itself: where it listens, and how long it keeps a silent connection."""

from pydantic import Field

from core.environment_settings import EnvironmentSettings


class ApiSettings(EnvironmentSettings):
    """Overridden by the command-line option `--port`."""

    port: int = Field(
        default=8000,
        ge=0,
        le=65_535,
        alias="HOLDFAST_API_PORT",
        description="The port of `holdfast api` and of `holdfast up`. The address of `holdfast api` is `--host`, by "
        "default 127.0.0.1.",
    )
    keep_alive_seconds: int = Field(
        default=75,
        ge=1,
        le=3600,
        alias="HOLDFAST_API_KEEP_ALIVE_SECONDS",
        description="How long `holdfast api` keeps a connection open without a request. Longer than the idle time-out "
        "of the load balancer in front (usually 60 s): otherwise a request can meet a connection that is being closed.",
    )
