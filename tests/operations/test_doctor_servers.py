"""The doctor on servers with a real fault: stopped, empty, too small, not configured."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.deployment.v1 import WorkerDeploymentOptions
from temporalio.api.enums.v1 import WorkerVersioningMode
from temporalio.api.operatorservice.v1 import RemoveSearchAttributesRequest
from temporalio.api.taskqueue.v1 import PollerInfo
from temporalio.api.workflowservice.v1 import (
    DeprecateNamespaceRequest,
    GetClusterInfoResponse,
    RegisterNamespaceRequest,
)
from temporalio.client import Client

from cli.doctor import postgres_answer, temporal_fairness, temporal_tls
from cli.doctor.clocks import ClockReading, check_clock
from cli.doctor.database import check_database, check_migrations, check_timeouts, check_version
from cli.doctor.results import CheckResult, State
from cli.doctor.schedule import check_schedule
from cli.doctor.schema import released_schema
from cli.doctor.temporal import check_attributes, check_retention, check_shards, check_temporal
from cli.doctor.temporal_clock import QUEUE
from cli.doctor.temporal_fairness import check_fairness
from cli.doctor.workers import check_pollers, check_routing
from core.settings import Settings
from dev.postgres import EmbeddedPostgres
from dev.temporal import EmbeddedTemporal
from tests.operations.conftest import scheduled
from tests.operations.diagnosis import diagnose_shop, faults, result_of, url_of_no_server
from tests.paying import Shop
from tests.servers import FAST
from tests.stack import running_stack
from tests.waiting import LIMIT_SECONDS, until


async def results_of(database: str, processes: int = 2, **changes: str) -> list[CheckResult]:
    return await check_database(Settings.read({"DATABASE_URL": database, **changes}), processes)


def run(database: str, statement: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(statement.encode())


async def test_a_stopped_postgres_is_one_fault_and_dependent_checks_are_skipped(shop: Shop) -> None:
    lines = await diagnose_shop(shop, DATABASE_URL=url_of_no_server())
    found = faults(lines)
    assert set(found) == {"database: reachable"}
    assert {line.state for line in lines if line.area == "database"} == {State.FAULT, State.NOT_APPLICABLE}


async def test_a_refused_connection_has_a_fix_that_fits(database: str, tmp_path: Path) -> None:
    run(database, "DROP ROLE IF EXISTS limited")
    run(database, "CREATE ROLE limited LOGIN CONNECTION LIMIT 0")
    limited = database.replace("postgres@", "limited@")
    assert postgres_answer.FULL in faults(await results_of(limited))["database: reachable"]
    run(database, "DROP ROLE limited")
    assert postgres_answer.REFUSED in faults(await results_of(limited))["database: reachable"]
    assert postgres_answer.START in faults(await results_of(url_of_no_server()))["database: reachable"]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert await postgres_answer.fix_connection(f"postgresql://127.0.0.1:{port}/x") == postgres_answer.HANGS
        assert await temporal_tls.fix_connection({"target_host": f"127.0.0.1:{port}"}) == temporal_tls.HANGS
    server = EmbeddedPostgres(tmp_path / "postgres", password=True, settings=FAST)
    server.start()
    try:
        wrong = server.database_url("nothing")
        assert postgres_answer.PASSWORD in faults(await results_of(wrong))["database: reachable"]
    finally:
        server.stop()


async def test_a_database_that_is_not_migrated_is_a_fault(empty_database: str) -> None:
    found = faults(await results_of(empty_database))
    assert "holdfast migrate" in found["database: migrations"]
    assert "InventoryHold" in found["database: tables"]


async def test_an_older_schema_is_a_fault_and_a_newer_one_is_not(database: str) -> None:
    run(database, "UPDATE alembic_version SET version_num = '0001'")
    assert set(faults(await results_of(database))) == {"database: migrations"}
    run(database, "UPDATE alembic_version SET version_num = '9999'")
    assert faults(await results_of(database)) == {}
    assert check_migrations(["9999"], released_schema()).state is State.OK


async def test_a_missing_table_is_a_fault(database: str) -> None:
    run(database, 'DROP TABLE "InventoryMovement"')
    assert "InventoryMovement" in faults(await results_of(database))["database: tables"]


async def test_the_fix_of_a_missing_index_creates_it(database: str) -> None:
    for index in ("InventoryHold_createdAt_idx", "InventoryHold_paymentIntentId_idx"):
        run(database, f'DROP INDEX "{index}"')
        (line,) = [line for line in await results_of(database) if line.state is State.FAULT]
        assert index in line.found
        run(database, str(line.fix).removeprefix("run in psql: "))
        assert faults(await results_of(database)) == {}


async def test_an_index_that_was_not_finished_is_a_fault(database: str) -> None:
    run(
        database,
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = '\"InventoryHold_createdAt_idx\"'::regclass",
    )
    found = faults(await results_of(database))["database: indexes"]
    assert 'DROP INDEX "InventoryHold_createdAt_idx"' in found


async def test_a_lock_time_out_that_is_not_in_force_is_a_fault(database: str) -> None:
    run(
        database,
        "CREATE FUNCTION unlimited() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN SET lock_timeout = 0; END'",
    )
    run(database, "CREATE EVENT TRIGGER unlimited ON login EXECUTE FUNCTION unlimited()")
    run(database, "ALTER EVENT TRIGGER unlimited ENABLE ALWAYS")
    found = faults(await results_of(database))
    assert set(found) == {"database: time-outs"}
    assert check_timeouts(2000, 0, Settings.read({"DATABASE_URL": database}), arrived=True).state is State.FAULT


async def test_a_read_only_database_is_a_fault(database: str) -> None:
    run(database, f'ALTER DATABASE "{database.rpartition("/")[2]}" SET default_transaction_read_only = on')
    found = faults(await results_of(database))
    assert set(found) == {"database: writes"}
    assert "default_transaction_read_only" in found["database: writes"]


async def test_pools_that_do_not_fit_into_max_connections_are_faults(database: str) -> None:
    found = faults(await results_of(database, processes=30))
    assert "= 245 of 197" in found["database: connections"]
    run(database, f'ALTER DATABASE "{database.rpartition("/")[2]}" CONNECTION LIMIT 10')
    assert "of 10 connections" in faults(await results_of(database))["database: connections"]


def test_an_old_postgres_and_a_replica_are_faults() -> None:
    assert check_version("12.1", 12, replica=False).state is State.FAULT
    assert check_version("18.0", 18, replica=True).state is State.FAULT
    assert check_version("18.0", 18, replica=False).state is State.OK


@pytest.fixture(scope="module")
async def own_temporal() -> AsyncIterator[EmbeddedTemporal]:
    server = EmbeddedTemporal(None, ui=False)
    server.start()
    yield server
    server.stop()


async def of_temporal(address: str, *, search_by_sku: bool = False, **changes: str) -> list[CheckResult]:
    environment = {"TEMPORAL_ADDRESS": address, "TEMPORAL_CONFIG_FILE": "/dev/null", **changes}
    return await check_temporal(environment, task_queue="nobody", release="0.1.0", search_by_sku=search_by_sku)


async def test_a_missing_search_attribute_is_a_fault(own_temporal: EmbeddedTemporal) -> None:
    client = await Client.connect(own_temporal.address)
    request = RemoveSearchAttributesRequest(namespace="default", search_attributes=["HoldReference"])
    await client.operator_service.remove_search_attributes(request)
    found = faults(await of_temporal(own_temporal.address))["temporal: search attributes"]
    assert "search-attribute create -n default --name HoldReference --type Keyword" in found


async def test_the_attribute_of_skus_is_only_needed_where_holds_are_found_by_them(
    own_temporal: EmbeddedTemporal,
) -> None:
    client = await Client.connect(own_temporal.address)
    request = RemoveSearchAttributesRequest(namespace="default", search_attributes=["Sku"])
    await client.operator_service.remove_search_attributes(request)
    without = await of_temporal(own_temporal.address)
    wanted = await of_temporal(own_temporal.address, search_by_sku=True)
    assert "Sku" not in faults(without).get("temporal: search attributes", "")
    assert "--name Sku --type KeywordList" in faults(wanted)["temporal: search attributes"]


def test_a_search_attribute_of_another_type_is_a_fault() -> None:
    found = {"ShopId": "Text", "HoldStatus": "Keyword", "HoldReference": "Keyword", "HoldExpiresAt": "Datetime"}
    line = check_attributes("default", found)
    assert (line.state, line.found) == (State.FAULT, "ShopId is a Text: holds are created, but lists may not find them")
    line = check_attributes("default", found | {"HoldStatus": "Int"})
    assert (line.state, "holds cannot be created" in line.found) == (State.FAULT, True)


async def test_a_missing_namespace_is_a_fault(own_temporal: EmbeddedTemporal) -> None:
    found = faults(await of_temporal(own_temporal.address, TEMPORAL_NAMESPACE="elsewhere"))
    assert "elsewhere" in found["temporal: namespace"]


async def test_a_deprecated_namespace_is_a_fault(own_temporal: EmbeddedTemporal) -> None:
    service = (await Client.connect(own_temporal.address)).workflow_service
    retention = Duration(seconds=86_400)
    await service.register_namespace(
        RegisterNamespaceRequest(namespace="old", workflow_execution_retention_period=retention)
    )
    await service.deprecate_namespace(DeprecateNamespaceRequest(namespace="old"))
    found = faults(await of_temporal(own_temporal.address, TEMPORAL_NAMESPACE="old"))
    assert "NAMESPACE_STATE_DEPRECATED" in found["temporal: namespace"]


async def test_no_polling_worker_is_a_fault(own_temporal: EmbeddedTemporal) -> None:
    assert "temporal: workers" in faults(await of_temporal(own_temporal.address))


async def test_a_worker_that_has_just_stopped_is_a_fault_though_the_server_lists_it(
    database: str, temporal: Client
) -> None:
    async with running_stack(database, temporal, with_worker=False) as stack:
        async with stack.worker():
            await stack.put(1)
            hold = await stack.made()
            await stack.post(hold["holdId"], "release")
        host = temporal.service_client.config.target_host
        lines = await check_temporal({"TEMPORAL_ADDRESS": host}, task_queue=stack.task_queue, release="0.1.0")
    assert "temporal: worker answers" in faults(lines)


def test_workers_that_poll_for_workflows_only_are_a_fault() -> None:
    (line,) = check_pollers([PollerInfo(identity="one")], [], "0.1.0")
    assert (line.state, "activities" in line.found) == (State.FAULT, True)


async def test_workers_of_another_release_are_faults(shop: Shop) -> None:
    host = shop.stack.temporal.service_client.config.target_host
    lines = await check_temporal({"TEMPORAL_ADDRESS": host}, task_queue=shop.stack.task_queue, release="9.9.9")
    assert "9.9.9" in faults(lines)["temporal: workers"]


def polling(build_id: str) -> PollerInfo:
    kind = "VERSIONED" if build_id else "UNVERSIONED"
    mode = WorkerVersioningMode.Value(f"WORKER_VERSIONING_MODE_{kind}")
    options = WorkerDeploymentOptions(build_id=build_id or "0.1.0", worker_versioning_mode=mode)
    return PollerInfo(deployment_options=options)


@pytest.mark.parametrize(
    ("builds", "current", "state", "command"),
    [
        (["", "2"], "", State.OK, ""),
        (["1", "2"], "1", State.OK, ""),
        (["2"], "2", State.OK, ""),
        (["2"], "", State.FAULT, "set-current-version --deployment-name holdfast --build-id 2"),
        (["2"], "1", State.FAULT, "set-current-version --deployment-name holdfast --build-id 2"),
        ([""], "1", State.FAULT, "set-current-version --deployment-name holdfast --unversioned"),
    ],
)
def test_workers_whose_build_gets_no_workflows_are_a_fault(
    builds: list[str], current: str, state: State, command: str
) -> None:
    (line,) = check_routing(map(polling, builds), current)
    assert (line.state, command in str(line.fix)) == (state, True)
    assert check_routing([polling("")], "") == []
    assert "--deployment-name shops/workers " in str(check_routing([polling("2")], "1", "shops/workers")[0].fix)


async def test_a_stopped_temporal_is_one_fault(shop: Shop, own_temporal: EmbeddedTemporal) -> None:
    own_temporal.stop()
    lines = await diagnose_shop(shop, TEMPORAL_ADDRESS=own_temporal.address)
    found = faults(lines)
    assert set(found) == {"temporal: reachable"}
    assert own_temporal.address in found["temporal: reachable"]
    own_temporal.start()


async def test_a_missing_late_or_paused_schedule_is_a_fault(temporal: Client) -> None:
    async def checked(at: float = 0.0) -> CheckResult:
        late = timedelta(minutes=15)
        (line,) = await check_schedule(temporal, "audit", "doctors-audit", late, lambda: time.time() + at)
        return line

    assert "restart a worker" in str((await checked()).fix)
    handle = await temporal.create_schedule("doctors-audit", scheduled())
    assert (await checked()).state is State.OK
    assert (await checked(at=1000)).state is State.FAULT
    await handle.pause()
    assert "--unpause" in str((await checked()).fix)
    await handle.delete()


async def test_a_server_that_serves_shops_in_order_of_arrival_is_a_fault(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporal_fairness, "_ORDER_SECONDS", LIMIT_SECONDS)
    (line,) = await check_fairness(temporal)
    assert line.state is State.OK
    unfair = EmbeddedTemporal(None, ui=False, flags=["--dynamic-config-value=matching.enableFairness=false"])
    await asyncio.to_thread(unfair.start)
    try:
        client = await Client.connect(unfair.address)

        async def is_a_fault() -> bool:  # on a busy machine, tasks that are started one after another can change places
            (line,) = await check_fairness(client)
            return "matching.enableFairness" in str(line.fix)

        await until(is_a_fault, "the doctor sees the order")
        left = [run.id async for run in client.list_workflows("ExecutionStatus = 'Running'")]
        assert not any("doctor" in workflow_id for workflow_id in left)
    finally:
        unfair.stop()


def test_too_short_a_retention_and_too_few_shards_are_faults() -> None:
    assert check_retention("default", timedelta(hours=1)).state is State.FAULT
    assert check_retention("default", timedelta(days=7)).state is State.OK
    few = GetClusterInfoResponse(history_shard_count=4, persistence_store="postgres12")
    assert check_shards(few).state is State.FAULT
    assert check_shards(GetClusterInfoResponse(history_shard_count=512)).state is State.OK


@pytest.mark.parametrize(
    ("server", "skew", "state"),
    [
        (100.05, 0.0, State.OK),
        (101.0, 0.9, State.OK),  # within the tolerance
        (103.2, 3.1, State.FAULT),
        (96.5, -3.5, State.FAULT),
    ],
)
def test_a_clock_is_a_fault_only_beyond_the_round_trip(server: float, skew: float, state: State) -> None:
    reading = ClockReading(before=100.0, server=server, after=100.1)
    line = check_clock("temporal", "Temporal", reading)
    assert reading.skew == pytest.approx(skew)
    assert line.state is state
    assert ("ahead" in line.found, "behind" in line.found) == (skew > 1, skew < -1)


async def test_reading_the_clock_starts_no_workflow(shop: Shop) -> None:
    assert result_of(await diagnose_shop(shop), "temporal", "clock").state is State.OK
    query = f'TaskQueue = "{QUEUE}"'
    assert (await shop.stack.temporal.count_workflows(query)).count == 0
