"""How a process of ours reaches Temporal. Not deterministic code: no workflow imports this."""

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio.client import Client, Interceptor, RetryConfig
from temporalio.envconfig import ClientConfig
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.service import GrpcCompression

from workflows.conversion import data_converter

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

SHUTDOWN_GRACE = timedelta(seconds=20)
"""How long a process that is told to stop may finish what it has begun."""

# A caller waits INVENTORY_REQUEST_TIMEOUT_MS at most: what is out of reach for 1.5 s is answered 503 meanwhile.
_RETRY = RetryConfig(
    initial_interval_millis=50, multiplier=2.0, max_interval_millis=500, max_elapsed_time_millis=1500, max_retries=6
)

_LATENCY_SECONDS = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0]
_HISTOGRAMS = (
    "temporal_request_latency",
    "temporal_workflow_task_schedule_to_start_latency",
    "temporal_workflow_task_execution_latency",
    "temporal_workflow_task_replay_latency",
    "temporal_activity_schedule_to_start_latency",
    "temporal_activity_execution_latency",
    "temporal_local_activity_execution_latency",
)


async def connect(
    *,
    lazy: bool = False,
    runtime: Runtime | None = None,
    environment: Mapping[str, str] | None = None,
    tracer_provider: "TracerProvider | None" = None,
) -> Client:
    """Connect as TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY and TEMPORAL_TLS* say.

    They are the process's, or those of the environment given instead of it. With `lazy`, the connection is made by the
    first call. With a tracer provider, the client's calls are traced, and so is what its workers do.
    Raises RuntimeError where the server is out of reach.
    """
    interceptors: list[Interceptor] = []
    if tracer_provider is not None:
        from workflows.tracing import Tracing  # noqa: PLC0415 - imported only where tracing is on

        interceptors.append(Tracing(tracer_provider))
    config = ClientConfig.load_client_connect_config(override_env_vars=environment)
    config.setdefault("target_host", "localhost:7233")
    return await Client.connect(
        **config,
        data_converter=data_converter,
        lazy=lazy,
        runtime=runtime,
        interceptors=interceptors,
        retry_config=_RETRY,
        # Messages of a hold are 1 KiB or so: to pack them costs each process, Temporal too, more than to send them.
        grpc_compression=GrpcCompression.NONE,
    )


def measured_runtime(port: int) -> Runtime:
    """Return a runtime of the SDK that serves its metrics on the port of 127.0.0.1."""
    return Runtime(
        telemetry=TelemetryConfig(
            metrics=PrometheusConfig(
                bind_address=f"127.0.0.1:{port}",
                counters_total_suffix=True,
                durations_as_seconds=True,
                histogram_bucket_overrides=dict.fromkeys(_HISTOGRAMS, _LATENCY_SECONDS),
            )
        )
    )
