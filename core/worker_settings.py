"""The settings of `python -m worker` itself: its processes and where it serves metrics."""

from typing import Annotated

from pydantic import Field

from core.environment_settings import Allowed, EnvironmentSettings


class WorkerSettings(EnvironmentSettings):
    """Overridden by the command-line options `--processes`, `--metrics-host` and `--metrics-port`."""

    processes: int = Field(
        default=1,
        ge=0,
        alias="HOLDFAST_WORKER_PROCESSES",
        description="Worker processes. Each runs workflow tasks on one core. 0 counts as 1.",
    )
    cached_holds: int | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        alias="HOLDFAST_WORKER_CACHED_HOLDS",
        description="Open holds that each worker process keeps in memory; one beyond is replayed from its history for "
        "each of its messages. Without it: as many as the memory allows, at most 30000 "
        "([scaling](scaling.md#memory-of-the-workers)).",
    )
    metrics_host: Annotated[str, Allowed("an address of this machine")] = Field(
        default="0.0.0.0",  # noqa: S104 - Prometheus usually runs on another machine
        alias="HOLDFAST_WORKER_METRICS_HOST",
        description="The address on which the worker serves `/metrics`. `holdfast up` uses `127.0.0.1`.",
    )
    metrics_port: int = Field(
        default=9464,
        ge=0,
        le=65_535,
        alias="HOLDFAST_WORKER_METRICS_PORT",
        description="The port of the worker's `/metrics`; 0 for a free one, as in `holdfast up`.",
    )
