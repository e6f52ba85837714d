"""Checks Temporal: the connection, the namespace, search attributes, shards, schedule, workers and clock."""

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import timedelta

from pydantic import SecretStr
from temporalio.api.enums.v1 import NamespaceState
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    GetClusterInfoRequest,
    GetClusterInfoResponse,
    GetSystemInfoRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities.audit_schedule import AUDIT_SCHEDULE
from activities.payments_schedule import PAYMENTS_SCHEDULE
from cli.doctor.clocks import ClockReading, check_clock
from cli.doctor.results import Check, CheckResult, State, fault, not_applicable, ok, run_checks
from cli.doctor.schedule import check_schedule
from cli.doctor.temporal_clock import read_temporal_clock
from cli.doctor.temporal_fairness import NAME as TURNS
from cli.doctor.temporal_fairness import check_fairness
from cli.doctor.temporal_tls import fix_connection
from cli.doctor.workers import check_workers
from core.error_messages import first_line
from core.search_attributes import refused_attributes, search_attributes_of
from core.setting_errors import SettingsError
from core.settings import WORKER_DEPLOYMENT
from core.temporal import NOT_ALLOWED, connect, connect_config
from workflows.messages import SEARCH_ATTRIBUTES, SKU_ATTRIBUTE

AREA = "temporal"
CALL = timedelta(seconds=4)
_CONNECT_SECONDS = 5.0
SHARDS = 512
_LEAST_RETENTION = timedelta(days=1)
_DEPENDENT = (
    "namespace",
    "retention",
    "search attributes",
    "history shards",
    TURNS,
    "audit schedule",
    "payments schedule",
    "workers",
    "clock",
)
_AUDIT_LATE = timedelta(minutes=15)
_PAYMENTS_LATE = timedelta(hours=26)
"""As late as the alerts HoldfastAuditStopped and HoldfastReconciliationStopped allow, or sooner."""


async def check_temporal(
    environment: Mapping[str, str],
    api_key: SecretStr | None = None,
    *,
    task_queue: str,
    release: str,
    search_by_sku: bool = False,
    reconciles: bool = False,
    now: Callable[[], float] = time.time,
) -> list[CheckResult]:
    """Check the Temporal server of these TEMPORAL_* variables. `release` is this installation's version.

    `reconciles`: whether payments are compared with holds, which needs a schedule.
    """
    try:
        config = connect_config(api_key, environment)
    except SettingsError as error:
        return _unreachable(str(error), "correct the TEMPORAL_* variables, see docs/configuration.md")
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            client = await connect(api_key, environment=environment)
            system = await client.workflow_service.get_system_info(GetSystemInfoRequest(), timeout=CALL)
    except TimeoutError:
        found = f"{config['target_host']}: no answer in {_CONNECT_SECONDS:g} s"
        return _unreachable(found, await fix_connection(config))
    except (RuntimeError, RPCError) as error:
        return _unreachable(f"{config['target_host']}: {first_line(error)}", await fix_connection(config))
    build = environment.get("HOLDFAST_WORKER_BUILD_ID") or release
    deployment = environment.get("HOLDFAST_WORKER_DEPLOYMENT") or WORKER_DEPLOYMENT
    wanted = SEARCH_ATTRIBUTES | (SKU_ATTRIBUTE if search_by_sku else {})
    encrypted = "encrypted" if client.service_client.config.tls else "not encrypted"
    reachable = ok(AREA, "reachable", f"{config['target_host']}, server {system.server_version}, {encrypted}")
    readings: list[ClockReading] = []

    async def clock() -> list[CheckResult]:
        readings.append(await read_temporal_clock(client, now))
        return [check_clock(AREA, "Temporal", readings[0])]

    def server_now() -> float:
        return now() + (readings[0].skew if readings else 0.0)

    first = (Check(AREA, "namespace", lambda: _check_namespace(client)), Check(AREA, "clock", clock))
    namespace = await run_checks(first, seconds=10)
    if namespace[0].state is State.FAULT:
        why = "the namespace cannot be used"
        skipped = [not_applicable(AREA, name, why) for name in _DEPENDENT if name not in ("namespace", "retention")]
        looked_at = [result for result in namespace if result.name != "clock"]
        return [reachable, *looked_at, *skipped]

    dependent = (
        Check(AREA, "search attributes", lambda: _check_attributes(client, wanted)),
        Check(AREA, "history shards", lambda: _check_shards(client)),
        Check(AREA, TURNS, lambda: check_fairness(client)),
        Check(AREA, "audit schedule", lambda: check_schedule(client, "audit", AUDIT_SCHEDULE, _AUDIT_LATE, server_now)),
        Check(
            AREA,
            "payments schedule",
            lambda: check_schedule(
                client, "payments", PAYMENTS_SCHEDULE if reconciles else None, _PAYMENTS_LATE, server_now
            ),
        ),
        Check(AREA, "workers", lambda: check_workers(client, task_queue, build, deployment, server_now)),
    )
    return [reachable, *namespace, *await run_checks(dependent, seconds=10)]


def _unreachable(found: str, fix: str) -> list[CheckResult]:
    why = "Temporal cannot be reached"
    return [
        fault(AREA, "reachable", found, fix),
        *(not_applicable(AREA, name, why) for name in _DEPENDENT),
    ]


async def _check_namespace(client: Client) -> list[CheckResult]:
    try:
        found = await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=client.namespace), timeout=CALL
        )
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        fix = f"set TEMPORAL_NAMESPACE, or: temporal operator namespace create -n {client.namespace} --retention 7d"
        return [
            fault(AREA, "namespace", f"the namespace {client.namespace} does not exist", fix),
            not_applicable(AREA, "retention", "the namespace does not exist"),
        ]
    state = found.namespace_info.state
    if state != NamespaceState.NAMESPACE_STATE_REGISTERED:
        result = fault(AREA, "namespace", f"{client.namespace} is {NamespaceState.Name(state)}", "use another one")
    else:
        result = ok(AREA, "namespace", client.namespace)
    return [result, check_retention(client.namespace, found.config.workflow_execution_retention_ttl.ToTimedelta())]


def check_retention(namespace: str, retention: timedelta) -> CheckResult:
    """Check how long Temporal keeps ended workflows. The database keeps its rows independently of it."""
    hours = retention.total_seconds() / 3600
    if retention < _LEAST_RETENTION:
        fix = f"temporal operator namespace update -n {namespace} --retention 7d"
        return fault(
            AREA, "retention", f"{hours:g} h: histories of ended holds are deleted too early to inspect them", fix
        )
    return ok(AREA, "retention", f"{hours:g} h")


async def _check_attributes(client: Client, wanted: Mapping[str, str]) -> list[CheckResult]:
    return [check_attributes(client.namespace, await search_attributes_of(client, wanted, CALL), wanted)]


def check_attributes(
    namespace: str, found: Mapping[str, str], wanted: Mapping[str, str] = SEARCH_ATTRIBUTES
) -> CheckResult:
    """Check that the search attributes of holds exist, each with its type."""
    wrong = {name: kind for name, kind in wanted.items() if found.get(name) != kind}
    if not wrong:
        return ok(AREA, "search attributes", ", ".join(wanted))
    problems = ", ".join(f"{name} is a {found[name]}" if name in found else f"{name} is missing" for name in wrong)
    create = "; ".join(
        f"temporal operator search-attribute create -n {namespace} --name {name} --type {kind}"
        for name, kind in wrong.items()
    )
    fix = f"remove the ones of another type; then: {create}" if set(wrong) & set(found) else create
    refused = refused_attributes(wanted, found)
    effect = "holds cannot be created" if refused else "holds are created, but lists may not find them"
    return fault(AREA, "search attributes", f"{problems}: {effect}", fix)


async def _check_shards(client: Client) -> list[CheckResult]:
    try:
        cluster = await client.workflow_service.get_cluster_info(GetClusterInfoRequest(), timeout=CALL)
    except RPCError as error:
        if error.status not in NOT_ALLOWED:
            raise
        return [not_applicable(AREA, "history shards", "not readable; Temporal Cloud manages them")]
    return [check_shards(cluster)]


def check_shards(cluster: GetClusterInfoResponse) -> CheckResult:
    """Check the number of history shards, which cannot be changed later."""
    shards = cluster.history_shard_count
    if cluster.persistence_store == "sqlite":
        return not_applicable(AREA, "history shards", f"{shards}, on a development server; use {SHARDS} in production")
    if not shards:
        return not_applicable(AREA, "history shards", "this server does not report them")
    if shards < SHARDS:
        fix = f"set up a cluster with {SHARDS} and move to it while no hold is active: the number is fixed"
        return fault(AREA, "history shards", f"{shards}: limits how many holds can be changed concurrently", fix)
    return ok(AREA, "history shards", str(shards))
