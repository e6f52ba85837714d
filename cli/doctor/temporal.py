"""The doctor on Temporal: the server, the namespace and what holds need of it."""

import time
from collections.abc import Callable, Mapping
from datetime import timedelta

from pydantic import SecretStr
from temporalio.api.enums.v1 import IndexedValueType, NamespaceState
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    GetClusterInfoRequest,
    GetClusterInfoResponse,
    GetSystemInfoRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from cli.doctor.lines import Check, Line, carried_out, fault, first_line, not_applicable, ok
from cli.doctor.schedule import schedule_line
from cli.doctor.temporal_clock import temporal_clock_line
from cli.doctor.workers import worker_lines
from core.setting_errors import SettingsError
from core.temporal import connect

AREA = "temporal"
CALL = timedelta(seconds=4)
SHARDS = 512
_ATTRIBUTES = {"ShopId": "Keyword", "HoldStatus": "Keyword", "HoldReference": "Keyword", "HoldExpiresAt": "Datetime"}
_LEAST_RETENTION = timedelta(days=1)
_AFTERWARDS = ("namespace", "retention", "search attributes", "history shards", "audit schedule", "workers", "clock")
_UNTOLD = (RPCStatusCode.UNIMPLEMENTED, RPCStatusCode.PERMISSION_DENIED)
"""What Temporal Cloud answers where only its own operators may ask."""

_FIXES = {
    "NotValidForName": "set TEMPORAL_TLS_SERVER_NAME, or TEMPORAL_ADDRESS, to a name in the server's certificate",
    "Expired": "renew the server's certificate",
    "InvalidCertificate": "set TEMPORAL_TLS_SERVER_CA_CERT_PATH to the certificate of whoever signed the server's",
    "KeyMismatch": "TEMPORAL_TLS_CLIENT_KEY_PATH is not the key of TEMPORAL_TLS_CLIENT_CERT_PATH: set the pair right",
    "InvalidContentType": "the server does not speak TLS: take TEMPORAL_TLS… and TEMPORAL_API_KEY out",
    "after connection": "does the server want TLS (TEMPORAL_TLS=true), or a client's certificate that it trusts "
    "(TEMPORAL_TLS_CLIENT_CERT_PATH, TEMPORAL_TLS_CLIENT_KEY_PATH)? Its log says",
}
"""By what Temporal's library says of a connection that was not made."""


async def temporal_lines(
    environment: Mapping[str, str],
    api_key: SecretStr | None = None,
    *,
    task_queue: str,
    release: str,
    now: Callable[[], float] = time.time,
) -> list[Line]:
    """Look at the Temporal that the environment names."""
    try:
        client = await connect(api_key, environment=environment)
        system = await client.workflow_service.get_system_info(GetSystemInfoRequest(), timeout=CALL)
    except (RuntimeError, RPCError, SettingsError) as error:
        address = environment.get("TEMPORAL_ADDRESS") or "localhost:7233"
        why = "Temporal is not reached"
        return [
            fault(AREA, "reachable", f"{address}: {first_line(error)}", _connecting(first_line(error))),
            *(not_applicable(AREA, name, why) for name in _AFTERWARDS),
        ]
    build = environment.get("HOLDFAST_WORKER_BUILD_ID") or release
    rest = (
        Check(AREA, "namespace", lambda: _namespace_lines(client)),
        Check(AREA, "search attributes", lambda: _attribute_lines(client)),
        Check(AREA, "history shards", lambda: _shard_lines(client)),
        Check(AREA, "audit schedule", lambda: schedule_line(client)),
        Check(AREA, "workers", lambda: worker_lines(client, task_queue, build)),
        Check(AREA, "clock", lambda: temporal_clock_line(client, now)),
    )
    config = client.service_client.config
    told = f"{config.target_host}, server {system.server_version}, {'encrypted' if config.tls else 'not encrypted'}"
    return [ok(AREA, "reachable", told), *await carried_out(rest, seconds=8)]


def _connecting(why: str) -> str:
    """Return what to do about a connection that was not made."""
    start = "start Temporal, or set TEMPORAL_ADDRESS, TEMPORAL_TLS… and TEMPORAL_API_KEY right"
    return next((fix for said, fix in _FIXES.items() if said in why), start)


async def _namespace_lines(client: Client) -> list[Line]:
    try:
        found = await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=client.namespace), timeout=CALL
        )
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        fix = f"set TEMPORAL_NAMESPACE, or: temporal operator namespace create -n {client.namespace} --retention 7d"
        return [
            fault(AREA, "namespace", f"there is no namespace {client.namespace}", fix),
            not_applicable(AREA, "retention", "there is no namespace"),
        ]
    state = found.namespace_info.state
    if state != NamespaceState.NAMESPACE_STATE_REGISTERED:
        yes = fault(AREA, "namespace", f"{client.namespace} is {NamespaceState.Name(state)}", "take another one")
    else:
        yes = ok(AREA, "namespace", client.namespace)
    return [yes, retention_line(client.namespace, found.config.workflow_execution_retention_ttl.ToTimedelta())]


def retention_line(namespace: str, retention: timedelta) -> Line:
    """Say how long ended holds can be looked at in Temporal; the database keeps its rows anyway."""
    hours = retention.total_seconds() / 3600
    if retention < _LEAST_RETENTION:
        fix = f"temporal operator namespace update -n {namespace} --retention 7d"
        return fault(AREA, "retention", f"{hours:g} h: ended holds are gone before anybody can look", fix)
    return ok(AREA, "retention", f"{hours:g} h")


async def _attribute_lines(client: Client) -> list[Line]:
    try:
        listed = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace), timeout=CALL
        )
    except RPCError as error:
        if error.status not in _UNTOLD:
            raise
        return [await _attributes_by_query(client)]
    found = {name: IndexedValueType.Name(kind) for name, kind in listed.custom_attributes.items()}
    return [attributes_line(client.namespace, {name: _plain(kind) for name, kind in found.items()})]


def attributes_line(namespace: str, found: Mapping[str, str]) -> Line:
    """Say whether the search attributes of holds are there, each of its type."""
    wrong = {name: kind for name, kind in _ATTRIBUTES.items() if found.get(name) != kind}
    if not wrong:
        return ok(AREA, "search attributes", ", ".join(_ATTRIBUTES))
    told = ", ".join(f"{name} is a {found[name]}" if name in found else f"{name} is missing" for name in wrong)
    again = "; ".join(
        f"temporal operator search-attribute create -n {namespace} --name {name} --type {kind}"
        for name, kind in wrong.items()
    )
    first = f"remove first what has another type; then: {again}" if set(wrong) & set(found) else again
    return fault(AREA, "search attributes", f"{told}: no hold can be made", first)


async def _attributes_by_query(client: Client) -> Line:
    found = dict(_ATTRIBUTES)
    for name, kind in _ATTRIBUTES.items():
        value = "'2026-01-01T00:00:00Z'" if kind == "Datetime" else "'x'"
        try:
            await client.count_workflows(f"{name} = {value}", rpc_timeout=CALL)
        except RPCError as error:
            if error.status is not RPCStatusCode.INVALID_ARGUMENT:
                raise
            del found[name]
    return attributes_line(client.namespace, found)


async def _shard_lines(client: Client) -> list[Line]:
    try:
        cluster = await client.workflow_service.get_cluster_info(GetClusterInfoRequest(), timeout=CALL)
    except RPCError as error:
        if error.status not in _UNTOLD:
            raise
        return [not_applicable(AREA, "history shards", "this server does not tell; Temporal Cloud sees to them")]
    return [shards_line(cluster)]


def shards_line(cluster: GetClusterInfoResponse) -> Line:
    """Say whether the cluster has the shards that it cannot get later."""
    shards = cluster.history_shard_count
    if cluster.persistence_store == "sqlite":
        return not_applicable(AREA, "history shards", f"{shards}: a development server; in production {SHARDS}")
    if not shards:
        return not_applicable(AREA, "history shards", "this server does not tell")
    if shards < SHARDS:
        fix = f"set up a cluster with {SHARDS} and move over while no hold is active: it cannot be changed later"
        return fault(AREA, "history shards", f"{shards}, which limits how many holds can be changed at once", fix)
    return ok(AREA, "history shards", str(shards))


def _plain(kind: str) -> str:
    return kind.removeprefix("INDEXED_VALUE_TYPE_").capitalize()
