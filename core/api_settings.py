"""The settings of `holdfast api`: where it listens, and limits for clients that hold a connection."""

from pydantic import Field

from core.environment_settings import EnvironmentSettings


class ApiSettings(EnvironmentSettings):
    """`holdfast api --port` overrides its port."""

    api_port: int = Field(
        default=8000,
        ge=1,
        le=65_535,
        alias="HOLDFAST_API_PORT",
        description="The port of `holdfast api` and of `holdfast up`. The address of `holdfast api` is `--host`, by "
        "default 127.0.0.1.",
    )
    api_keep_alive_seconds: int = Field(
        default=75,
        ge=1,
        le=3600,
        alias="HOLDFAST_API_KEEP_ALIVE_SECONDS",
        description="How long `holdfast api` keeps a connection open without a request. Longer than the idle time-out "
        "of the load balancer in front (usually 60 s): otherwise a request can meet a connection that is being closed.",
    )
    api_connections: int = Field(
        default=800,
        ge=10,
        le=65_535,
        alias="HOLDFAST_API_CONNECTIONS",
        description="Connections per process. At the limit, the connection that has waited longest for its client is "
        "closed for each new one. A process whose limit of open files (`ulimit -n`) is too low for it uses fewer, and "
        "logs a warning.",
    )
    api_runs_holds: bool = Field(
        default=True,
        alias="HOLDFAST_API_RUNS_HOLDS",
        description="Whether each process of the API also runs the workflows of the holds that it starts, which takes "
        "less CPU for a hold. `0`, and with `HOLDFAST_WORKER_BUILD_ID`: all run in the workers. Workers are needed in "
        "either case: for payments, events, the audit, and the holds of an API process that has ended.",
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
        description="The same for each MiB of the body, from the end of the header. A client that reads nothing of its "
        "answer for this long is disconnected.",
    )
