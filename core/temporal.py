"""How a process of ours reaches Temporal. Not deterministic code: no workflow imports this."""

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from pydantic import SecretStr
from temporalio.client import Client, Interceptor, RetryConfig
from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.service import GrpcCompression, TLSConfig

from core.data_converter import data_converter

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


class TemporalSettingsError(Exception):
    """TEMPORAL_* do not say how to connect. The message names what is at fault."""


def connect_config(api_key: SecretStr | None, environment: Mapping[str, str] | None = None) -> ClientConnectConfig:
    """Return what TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE and TEMPORAL_TLS* say, and the key; an empty one is not set.

    They are the process's, or those of the environment given instead of it. Raises TemporalSettingsError.
    """
    everything = os.environ if environment is None else environment
    given = {name: value for name, value in everything.items() if name.startswith("TEMPORAL_") and value}
    try:
        config = ClientConfig.load_client_connect_config(override_env_vars=given)
    except OSError as error:
        named = [name for name, value in given.items() if value == str(error.filename)] or ["Temporal's configuration"]
        raise TemporalSettingsError(f"{named[0]}: cannot read {error.filename}: {error.strerror}") from None
    except RuntimeError as error:
        raise TemporalSettingsError(f"Temporal's configuration: {error}") from None
    config.setdefault("target_host", "localhost:7233")
    if api_key is not None:
        config["api_key"] = api_key.get_secret_value()
        config.setdefault("tls", True)
    tls = config.get("tls")
    if isinstance(tls, TLSConfig) and bool(tls.client_cert) != bool(tls.client_private_key):
        pair = "TEMPORAL_TLS_CLIENT_CERT_PATH, TEMPORAL_TLS_CLIENT_KEY_PATH"
        raise TemporalSettingsError(f"{pair}: one is set, and must be both or neither")
    return config


async def connect(
    api_key: SecretStr | None,
    *,
    lazy: bool = False,
    runtime: Runtime | None = None,
    environment: Mapping[str, str] | None = None,
    tracer_provider: "TracerProvider | None" = None,
) -> Client:
    """Connect as `connect_config` says. With `lazy`, the connection is made by the first call.

    With a tracer provider, the client's calls are traced, and so is what its workers do.
    Raises TemporalSettingsError, and RuntimeError where the server is out of reach or not the one that is trusted.
    """
    interceptors: list[Interceptor] = []
    if tracer_provider is not None:
        from core.temporal_tracing import TraceContextInterceptor  # noqa: PLC0415 - only when tracing is on

        interceptors.append(TraceContextInterceptor(tracer_provider))
    return await Client.connect(
        **connect_config(api_key, environment),
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
