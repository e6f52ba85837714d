"""Connects to Temporal. No workflow imports this."""

import os
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

from pydantic import SecretStr
from temporalio.client import Client, Interceptor, RetryConfig
from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.service import GrpcCompression, RPCStatusCode, TLSConfig

from core.data_converter import data_converter
from core.environment_settings import set_variables
from core.sdk_logs import join_sdk_logs
from core.setting_errors import SettingProblem, SettingsError

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

NOT_ALLOWED = (RPCStatusCode.UNIMPLEMENTED, RPCStatusCode.PERMISSION_DENIED)
"""Temporal Cloud's answers to calls that only its own operators may make, and those of a server without the call."""
SHUTDOWN_GRACE = timedelta(seconds=20)
"""How long a process that is stopping may take to finish the work it has begun."""

# Ends before INVENTORY_REQUEST_TIMEOUT_MS (default 5 s), so that an unreachable server is answered with 503.
_RETRY = RetryConfig(
    initial_interval_millis=50, multiplier=2.0, max_interval_millis=500, max_elapsed_time_millis=1500, max_retries=6
)

_ANY_VARIABLE = "TEMPORAL_*"
_ADDRESS = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})")
_HIGHEST_PORT = 65_535
_PLAIN = frozenset(
    {
        "TEMPORAL_NAMESPACE",
        "TEMPORAL_CONFIG_FILE",
        "TEMPORAL_PROFILE",
        "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
        "TEMPORAL_TLS_SERVER_NAME",
        "TEMPORAL_TLS_CLIENT_CERT_PATH",
        "TEMPORAL_TLS_CLIENT_KEY_PATH",
    }
)
_ADDRESS_RULE = "must be host:port, such as temporal.example.com:7233, without scheme, blanks and quotation marks"

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


def connect_config(api_key: SecretStr | None, environment: Mapping[str, str] | None = None) -> ClientConnectConfig:
    """Return the connection options: API key, TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE and TEMPORAL_TLS*.

    The variables are those of the process unless others are given; an empty one counts as unset. Raises SettingsError.
    """
    variables = set_variables(os.environ if environment is None else environment)
    given = {name: value for name, value in variables.items() if name.startswith("TEMPORAL_")}
    if problems := tuple(_problems(given)):
        raise SettingsError(*problems)
    try:
        config = ClientConfig.load_client_connect_config(override_env_vars=given)
    except OSError as error:
        names = [name for name, value in given.items() if value == str(error.filename)] or [_ANY_VARIABLE]
        raise SettingsError(SettingProblem(names[0], f"cannot read {error.filename}: {error.strerror}")) from None
    except RuntimeError as error:
        raise SettingsError(SettingProblem(_ANY_VARIABLE, str(error))) from None
    config.setdefault("target_host", "localhost:7233")
    if not _is_address(config["target_host"]):  # of a profile in the library's own file
        raise SettingsError(SettingProblem("TEMPORAL_CONFIG_FILE", f"the profile's address {_ADDRESS_RULE}"))
    if api_key is not None:
        config["api_key"] = api_key.get_secret_value()
        config.setdefault("tls", True)
    tls = config.get("tls")
    if isinstance(tls, TLSConfig) and bool(tls.client_cert) != bool(tls.client_private_key):
        pair = ("TEMPORAL_TLS_CLIENT_CERT_PATH", "TEMPORAL_TLS_CLIENT_KEY_PATH")
        missing, present = pair if tls.client_private_key else reversed(pair)
        raise SettingsError(SettingProblem(missing, f"is not set, and is required with {present}", (present,)))
    return config


def _problems(given: Mapping[str, str]) -> Iterator[SettingProblem]:
    """Yield what Temporal's library would accept here and fail on later, with a trace or at each call."""
    for name, value in given.items():
        if name == "TEMPORAL_ADDRESS":
            if not _is_address(value):
                yield SettingProblem(name, f"{value!r} is not allowed; {_ADDRESS_RULE}")
        elif name == "TEMPORAL_TLS":
            if value.lower() not in ("true", "false", "1", "0"):
                yield SettingProblem(name, f"{value!r} is not allowed; allowed: true, false")
        elif name in _PLAIN and (value != value.strip() or value.startswith(("'", '"'))):
            yield SettingProblem(name, f"{value!r} has blanks or quotation marks around it; remove them")


def _is_address(value: str) -> bool:
    found = _ADDRESS.fullmatch(value)
    return found is not None and 0 < int(found[2]) <= _HIGHEST_PORT


async def connect(
    api_key: SecretStr | None,
    *,
    lazy: bool = False,
    runtime: Runtime | None = None,
    environment: Mapping[str, str] | None = None,
    tracer_provider: "TracerProvider | None" = None,
) -> Client:
    """Connect with the options of `connect_config`. With `lazy`, the first call makes the connection.

    With a tracer provider, the calls of the client and the work of its workers are traced. Raises SettingsError, and
    RuntimeError if the server cannot be reached or TLS fails.
    """
    interceptors: list[Interceptor] = []
    if tracer_provider is not None:
        from core.temporal_tracing import TraceContextInterceptor  # noqa: PLC0415 - only when tracing is on

        interceptors.append(TraceContextInterceptor(tracer_provider))
    return await Client.connect(
        **connect_config(api_key, environment),
        data_converter=data_converter,
        lazy=lazy,
        runtime=runtime or _plain_runtime(),
        interceptors=interceptors,
        retry_config=_RETRY,
        # A hold's messages are about 1 KiB: compressing them costs clients and server more CPU than sending them.
        grpc_compression=GrpcCompression.NONE,
    )


@cache
def _plain_runtime() -> Runtime:
    """Return the runtime of the SDK that all connections of a process share unless another is given."""
    return Runtime(telemetry=TelemetryConfig(logging=join_sdk_logs()))


def runtime_with_metrics(port: int) -> Runtime:
    """Return a runtime of the SDK that serves its metrics on 127.0.0.1 at the port."""
    return Runtime(
        telemetry=TelemetryConfig(
            logging=join_sdk_logs(),
            metrics=PrometheusConfig(
                bind_address=f"127.0.0.1:{port}",
                counters_total_suffix=True,
                durations_as_seconds=True,
                histogram_bucket_overrides=dict.fromkeys(_HISTOGRAMS, _LATENCY_SECONDS),
            ),
        )
    )
