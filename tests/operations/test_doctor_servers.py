"""The doctor on servers with a real fault: stopped, empty, too small, not set up."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
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

from cli.doctor.clocks import Reading, clock_line
from cli.doctor.database import database_lines, migration_line, timeouts_line, version_line
from cli.doctor.lines import Line, State
from cli.doctor.schedule import schedule_line
from cli.doctor.schema import released_schema
from cli.doctor.temporal import attributes_line, retention_line, shards_line, temporal_lines
from cli.doctor.temporal_clock import QUEUE
from cli.doctor.workers import pollers_lines, routing_lines
from core.settings import Settings
from dev.postgres import EmbeddedPostgres
from dev.temporal import EmbeddedTemporal
from tests.conftest import FAST
from tests.operations.conftest import scheduled
from tests.operations.examining import examine, faults, said
from tests.paying import Shop
from tests.stack import running_stack


async def looked(database: str, processes: int = 2, **changes: str) -> list[Line]:
    return await database_lines(Settings.read({"DATABASE_URL": database, **changes}), processes)


def run(database: str, statement: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(statement.encode())


async def test_a_stopped_postgres_is_named_once_and_the_rest_of_it_is_not_judged(
    shop: Shop, tmp_path_factory: pytest.TempPathFactory
) -> None:
    server = EmbeddedPostgres(tmp_path_factory.mktemp("stopped"), settings=FAST)
    server.start()
    server.stop()
    lines = await examine(shop, DATABASE_URL=server.url)
    found = faults(lines)
    assert set(found) == {"database: reachable"}
    assert "Connection refused" in found["database: reachable"]
    assert "psql $DATABASE_URL" in found["database: reachable"]
    assert {line.state for line in lines if line.area == "database"} == {State.FAULT, State.NOT_APPLICABLE}


async def test_a_database_that_is_not_migrated_is_named(empty_database: str) -> None:
    found = faults(await looked(empty_database))
    assert "holdfast migrate" in found["database: migrations"]
    assert "InventoryHold" in found["database: tables"]


async def test_an_older_schema_is_named_and_a_newer_one_is_none_of_our_faults(database: str) -> None:
    run(database, "UPDATE alembic_version SET version_num = '0001'")
    assert "at 0001, not at" in faults(await looked(database))["database: migrations"]
    run(database, "UPDATE alembic_version SET version_num = '9999'")
    assert faults(await looked(database)) == {}
    assert migration_line(["9999"], released_schema()).state is State.OK


async def test_a_missing_table_is_named(database: str) -> None:
    run(database, 'DROP TABLE "InventoryMovement"')
    assert "missing: InventoryMovement" in faults(await looked(database))["database: tables"]


async def test_a_missing_index_is_named_and_its_fix_mends_it(database: str) -> None:
    for index in ("InventoryHold_createdAt_idx", "InventoryHold_paymentIntentId_idx"):
        run(database, f'DROP INDEX "{index}"')
        (line,) = [line for line in await looked(database) if line.state is State.FAULT]
        assert line.found == f"missing: {index}"
        run(database, str(line.fix).removeprefix("run in psql: "))
        assert faults(await looked(database)) == {}


async def test_an_index_that_was_not_finished_is_named(database: str) -> None:
    run(
        database,
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = '\"InventoryHold_createdAt_idx\"'::regclass",
    )
    found = faults(await looked(database))["database: indexes"]
    assert "is not valid" in found
    assert 'DROP INDEX "InventoryHold_createdAt_idx"' in found


async def test_a_lock_time_out_that_is_not_in_force_is_named(database: str) -> None:
    name = database.rpartition("/")[2]
    run(
        database,
        "CREATE FUNCTION unlimited() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN SET lock_timeout = 0; END'",
    )
    run(database, "CREATE EVENT TRIGGER unlimited ON login EXECUTE FUNCTION unlimited()")
    run(database, "ALTER EVENT TRIGGER unlimited ENABLE ALWAYS")
    found = faults(await looked(database))
    assert set(found) == {"database: time-outs"}, name
    assert "lock_timeout is 0 ms" in found["database: time-outs"]
    assert timeouts_line(2000, 0, Settings.read({"DATABASE_URL": database})).state is State.FAULT


async def test_pools_that_do_not_fit_into_max_connections_are_named(database: str) -> None:
    found = faults(await looked(database, processes=30))
    assert "30 processes x 8 + 5 spare = 245 of 197 connections: too few" in found["database: connections"]
    assert "max_connections" in found["database: connections"]
    run(database, f'ALTER DATABASE "{database.rpartition("/")[2]}" CONNECTION LIMIT 10')
    assert "of 10 connections" in faults(await looked(database))["database: connections"]


def test_an_old_postgres_and_a_replica_are_named() -> None:
    assert "not maintained" in version_line("12.1", 12, replica=False).found
    assert "replica" in version_line("18.0", 18, replica=True).found


@pytest.fixture(scope="module")
async def own_temporal() -> AsyncIterator[EmbeddedTemporal]:
    server = EmbeddedTemporal(None, ui=False)
    server.start()
    yield server
    server.stop()


async def of_temporal(address: str, **changes: str) -> list[Line]:
    environment = {"TEMPORAL_ADDRESS": address, "TEMPORAL_CONFIG_FILE": "/dev/null", **changes}
    return await temporal_lines(environment, task_queue="nobody", release="0.1.0")


async def test_a_missing_search_attribute_is_named(own_temporal: EmbeddedTemporal) -> None:
    client = await Client.connect(own_temporal.address)
    request = RemoveSearchAttributesRequest(namespace="default", search_attributes=["HoldReference"])
    await client.operator_service.remove_search_attributes(request)
    found = faults(await of_temporal(own_temporal.address))["temporal: search attributes"]
    assert "HoldReference is missing" in found
    assert "search-attribute create -n default --name HoldReference --type Keyword" in found


def test_a_search_attribute_of_another_type_is_named() -> None:
    found = {"ShopId": "Text", "HoldStatus": "Keyword", "HoldReference": "Keyword", "HoldExpiresAt": "Datetime"}
    line = attributes_line("default", found)
    assert (line.state, "ShopId is a Text" in line.found) == (State.FAULT, True)
    assert str(line.fix).startswith("remove first")


async def test_a_missing_namespace_is_named(own_temporal: EmbeddedTemporal) -> None:
    found = faults(await of_temporal(own_temporal.address, TEMPORAL_NAMESPACE="elsewhere"))
    assert "there is no namespace elsewhere" in found["temporal: namespace"]


async def test_a_namespace_that_is_being_given_up_is_named(own_temporal: EmbeddedTemporal) -> None:
    service = (await Client.connect(own_temporal.address)).workflow_service
    retention = Duration(seconds=86_400)
    await service.register_namespace(
        RegisterNamespaceRequest(namespace="old", workflow_execution_retention_period=retention)
    )
    await service.deprecate_namespace(DeprecateNamespaceRequest(namespace="old"))
    found = faults(await of_temporal(own_temporal.address, TEMPORAL_NAMESPACE="old"))
    assert "old is NAMESPACE_STATE_DEPRECATED" in found["temporal: namespace"]


async def test_that_no_worker_polls_is_named(own_temporal: EmbeddedTemporal) -> None:
    found = faults(await of_temporal(own_temporal.address))["temporal: workers"]
    assert "no worker polls for workflows" in found
    assert "python -m worker" in found


async def test_a_worker_that_has_just_stopped_is_named_though_the_server_remembers_it(
    database: str, temporal: Client
) -> None:
    async with running_stack(database, temporal, with_worker=False) as stack:
        async with stack.worker():
            await stack.put(1)
            hold = await stack.made()
            await stack.post(hold["holdId"], "release")
        host = temporal.service_client.config.target_host
        lines = await temporal_lines({"TEMPORAL_ADDRESS": host}, task_queue=stack.task_queue, release="0.1.0")
    assert "no worker took a question" in faults(lines)["temporal: worker answers"]


def test_workers_that_take_workflows_and_no_activities_are_named() -> None:
    now = Timestamp()
    now.GetCurrentTime()
    (line,) = pollers_lines([PollerInfo(identity="one", last_access_time=now)], [], "0.1.0")
    assert (line.state, "no worker polls for activities" in line.found) == (State.FAULT, True)


async def test_workers_of_another_release_are_named(shop: Shop) -> None:
    host = shop.stack.temporal.service_client.config.target_host
    lines = await temporal_lines({"TEMPORAL_ADDRESS": host}, task_queue=shop.stack.task_queue, release="9.9.9")
    assert "none of this release, 9.9.9" in faults(lines)["temporal: workers"]


def polling(build_id: str) -> PollerInfo:
    kind = "VERSIONED" if build_id else "UNVERSIONED"
    mode = WorkerVersioningMode.Value(f"WORKER_VERSIONING_MODE_{kind}")
    options = WorkerDeploymentOptions(build_id=build_id or "0.1.0", worker_versioning_mode=mode)
    return PollerInfo(deployment_options=options)


@pytest.mark.parametrize(
    ("builds", "current", "state", "told"),
    [
        (["", "2"], "", State.OK, "workers without a build id; build 2 waits"),
        (["1", "2"], "1", State.OK, "build 1; build 2 waits"),
        (["2"], "2", State.OK, "holds go to build 2"),
        (["2"], "", State.FAULT, "set-current-version --deployment-name holdfast --build-id 2"),
        (["2"], "1", State.FAULT, "holds go to build 1, and none polls"),
        ([""], "1", State.FAULT, "set-current-version --deployment-name holdfast --unversioned"),
    ],
)
def test_workers_whose_build_is_given_nothing_are_named(
    builds: list[str], current: str, state: State, told: str
) -> None:
    (line,) = routing_lines(map(polling, builds), current)
    assert (line.state, told in f"{line.found} -> {line.fix}") == (state, True)
    assert routing_lines([polling("")], "") == []


async def test_a_temporal_that_is_away_is_named_once(shop: Shop, own_temporal: EmbeddedTemporal) -> None:
    own_temporal.stop()
    lines = await examine(shop, TEMPORAL_ADDRESS=own_temporal.address)
    found = faults(lines)
    assert set(found) == {"temporal: reachable"}
    assert own_temporal.address in found["temporal: reachable"]
    own_temporal.start()


async def test_the_schedule_of_the_audit_is_missed_and_its_pause_is_named(temporal: Client) -> None:
    (line,) = await schedule_line(temporal, "doctors-audit")
    assert (line.state, "doctors-audit is missing" in line.found) == (State.FAULT, True)
    handle = await temporal.create_schedule("doctors-audit", scheduled())
    (line,) = await schedule_line(temporal, "doctors-audit")
    assert line.state is State.OK
    (line,) = await schedule_line(temporal, "doctors-audit", at=datetime.now(UTC) + timedelta(hours=4))
    assert "has not run for 240 min" in line.found
    await handle.pause()
    (line,) = await schedule_line(temporal, "doctors-audit")
    assert "is paused" in line.found
    assert "--unpause" in str(line.fix)
    await handle.delete()


def test_too_short_a_retention_and_too_few_shards_are_named() -> None:
    assert "1 h" in retention_line("default", timedelta(hours=1)).found
    assert retention_line("default", timedelta(days=7)).state is State.OK
    few = shards_line(GetClusterInfoResponse(history_shard_count=4, persistence_store="postgres12"))
    assert (few.state, few.found[0]) == (State.FAULT, "4")
    assert shards_line(GetClusterInfoResponse(history_shard_count=512)).state is State.OK


@pytest.mark.parametrize(
    ("server", "state", "told"),
    [
        (100.05, State.OK, "agrees"),
        (101.0, State.OK, "agrees"),  # within the tolerance
        (103.2, State.FAULT, "3.1 s ahead of"),
        (96.5, State.FAULT, "3.5 s behind"),
    ],
)
def test_a_clock_is_judged_by_what_the_round_trip_cannot_explain(server: float, state: State, told: str) -> None:
    line = clock_line("temporal", "Temporal", Reading(before=100.0, server=server, after=100.1))
    assert (line.state, told in line.found) == (state, True)


async def test_reading_the_clock_leaves_nothing_behind(shop: Shop) -> None:
    assert said(await examine(shop), "temporal", "clock").state is State.OK
    query = f'TaskQueue = "{QUEUE}"'
    assert (await shop.stack.temporal.count_workflows(query)).count == 0
