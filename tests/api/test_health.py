"""Health, liveness and readiness."""

import asyncio
import socket
from contextlib import suppress

import httpx
import psycopg
import pytest
from google.protobuf.duration_pb2 import Duration
from structlog.testing import capture_logs
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from cli.migrate import migrate
from domain.holds import Line
from holds.start_options import start_options
from migrations.released import released_revisions
from tests.api.asking import HEALTH, neighbour
from tests.stack import SHOP, Stack, running_stack
from tests.waiting import until
from workflows.messages import SEARCH_ATTRIBUTES, HoldInput


async def parts_of(http: httpx.AsyncClient) -> dict[str, str]:
    """Return each part's reason if it failed, else its status."""
    parts = (await http.get("/readyz")).json()["parts"]
    return {name: part.get("reason") or part["status"] for name, part in parts.items()}


async def writes(http: httpx.AsyncClient, expected: str) -> bool:
    return (await parts_of(http))["postgres_write"] == expected


async def gauges_of(http: httpx.AsyncClient) -> dict[str, str]:
    """Return the gauge of each part as a scrape has it."""
    lines = (await http.get("/metrics")).text.splitlines()
    found = (line.removeprefix('inventory_ready{part="') for line in lines if line.startswith("inventory_ready{"))
    return dict(line.split('"} ') for line in found)


ALL = ("postgres_write", "migrations", "temporal", "namespace", "search_attributes", "workers")


async def test_all_is_well(stack: Stack) -> None:
    async def worker_polls() -> bool:
        return (await parts_of(stack.http))["workers"] == "ok"

    await until(worker_polls, "a worker is known to poll")
    answer = await stack.http.get(HEALTH)
    body = answer.json()
    assert answer.status_code == 200
    assert (body["status"], body["mode"], body["bypassed"], body["failing"]) == ("ok", "reserve_ttl", False, None)
    assert {name: check["status"] for name, check in body["checks"].items()} == {"database": "ok", "temporal": "ok"}
    assert {name: part["status"] for name, part in body["parts"].items()} == dict.fromkeys(ALL, "ok")
    assert await gauges_of(stack.http) == dict.fromkeys(ALL, "1.0")


async def test_without_postgres_it_is_unavailable_and_alive(stack: Stack) -> None:
    async with neighbour(stack, DATABASE_URL="postgresql://ann:pa55word@127.0.0.1:9/shop") as http:
        for url in (HEALTH, "/readyz"):
            answer = await http.get(url)
            assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
            assert answer.json()["checks"]["database"]["detail"] == "Postgres does not answer."
            assert "pa55word" not in answer.text
        assert (await http.get("/livez")).json() == {"status": "ok"}


async def test_without_the_tables_it_says_what_to_run(stack: Stack, empty_database: str) -> None:
    async with neighbour(stack, DATABASE_URL=empty_database) as http:
        answer = await http.get(HEALTH)
    assert answer.status_code == 503
    assert "holdfast migrate" in answer.json()["checks"]["database"]["detail"]


async def test_a_postgres_that_accepts_and_says_nothing_does_not_keep_health_waiting(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts; psycopg would wait 600 s
        url = f"postgresql://ann@127.0.0.1:{silent.getsockname()[1]}/shop?connect_timeout=600"
        async with neighbour(stack, DATABASE_URL=url) as http:
            answer = await http.get(HEALTH)
            assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")


async def test_a_locked_table_does_not_make_it_unavailable(stack: Stack) -> None:
    await stack.put(1)
    url = stack.settings.database_url.get_secret_value()
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute('SELECT FROM "InventoryItem" FOR UPDATE')
        assert (await stack.http.get(HEALTH)).status_code == 200


async def test_a_read_only_database_is_said_and_over_when_it_is_over(own_stack: Stack) -> None:
    url = own_stack.settings.database_url.get_secret_value()
    database = f'"{url.rpartition("/")[2]}"'
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as before, neighbour(own_stack) as http:
        assert (await http.get("/readyz")).status_code == 200
        await before.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on".encode())
        await before.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await until(lambda: writes(http, "read_only"), "it says read-only")
        answer = await http.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
        assert answer.json()["failing"] == "postgres_write"
        assert answer.json()["checks"]["database"]["reason"] == "read_only"
        await before.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only".encode())
        await until(lambda: writes(http, "ok"), "it is over")
        assert (await http.get("/readyz")).status_code == 200


async def test_a_namespace_that_is_missing_is_said(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "nowhere")
    async with neighbour(stack) as http:
        answer = await http.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
        temporal = answer.json()["checks"]["temporal"]
        parts = await parts_of(http)
    hidden = {name: parts[name] for name in ("temporal", "namespace", "search_attributes", "workers")}
    assert list(hidden.values()) == ["ok", "namespace_missing", "unknown", "unknown"]
    assert (temporal["reason"], temporal["detail"]) == ("namespace_missing", "Temporal has no namespace nowhere.")


@pytest.mark.parametrize("path", ["/livez", "/readyz", HEALTH, "/metrics"])
async def test_head_answers_as_get_does_without_a_body(shared: Stack, path: str) -> None:
    got, head = await shared.http.get(path), await shared.http.head(path)
    assert (head.status_code, head.headers["content-type"]) == (got.status_code, got.headers["content-type"])
    assert head.content == b""


async def test_each_change_of_a_part_is_one_line_and_the_gauge_follows_although_nobody_asks(
    stack: Stack, empty_database: str
) -> None:
    with capture_logs() as logs:
        async with neighbour(stack, DATABASE_URL=empty_database) as http:

            async def migrations() -> str | None:
                return (await gauges_of(http)).get("migrations")  # a scrape looks at nothing

            async def failed() -> bool:
                return await migrations() == "0.0"

            async def ready() -> bool:
                return await migrations() == "1.0"

            await until(failed, "the gauge is 0")
            assert "postgres_write" not in await gauges_of(http)  # hidden by the missing tables
            await asyncio.to_thread(migrate, empty_database)
            await until(ready, "the gauge is 1")
    lines = [(log["event"], log.get("reason")) for log in logs if log.get("part") == "migrations"]
    assert lines == [("a part is not ready", "not_migrated"), ("a part is ready again", None)]


async def test_a_schema_of_the_release_before_keeps_this_one_out_and_a_later_one_does_not(own_stack: Stack) -> None:
    url = own_stack.settings.database_url.get_secret_value()
    head = max(released_revisions())
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection, neighbour(own_stack) as http:

        async def answers(status: int, revision: str) -> None:
            await connection.execute("UPDATE alembic_version SET version_num = %s", [revision])

            async def does() -> bool:
                return (await http.get("/readyz")).status_code == status

            await until(does, f"{status} at {revision}")

        await answers(503, "0001")
        body = (await http.get(HEALTH)).json()
        assert (body["failing"], body["parts"]["migrations"]["fix"]) == (
            "migrations",
            "docs/runbooks/readiness.md#migrations",
        )
        assert f"at 0001, not at {head}; run: holdfast migrate" in body["parts"]["migrations"]["detail"]
        await answers(200, "9999")
        await connection.execute("UPDATE alembic_version SET version_num = %s", [head])


async def test_without_a_worker_it_answers_and_says_so(database: str, temporal: Client) -> None:
    async with running_stack(database, temporal, with_worker=False) as stack:
        answer = await stack.http.get("/readyz")
        body = answer.json()
        assert (answer.status_code, body["status"], body["failing"]) == (200, "degraded", "workers")
        assert body["parts"]["workers"]["reason"] == "none_polls"
        async with stack.worker():

            async def polls() -> bool:
                return (await parts_of(stack.http))["workers"] == "ok"

            await until(polls, "its worker is known")


async def test_a_namespace_without_the_search_attributes_is_not_ready(
    stack: Stack, temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = RegisterNamespaceRequest(namespace="bare", workflow_execution_retention_period=Duration(seconds=86_400))
    await temporal.workflow_service.register_namespace(request)
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "bare")
    async with neighbour(stack) as http:

        async def known() -> bool:
            return (await parts_of(http))["namespace"] == "ok"

        await until(known, "the server knows the namespace")
        answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()["failing"]) == (503, "search_attributes")
    assert "HoldReference is missing" in answer.json()["parts"]["search_attributes"]["detail"]


@pytest.mark.parametrize(("kind", "ready"), [("KEYWORD", True), ("INT", False)])
async def test_a_search_attribute_of_another_type_only_counts_where_it_refuses_holds(
    stack: Stack, temporal: Client, monkeypatch: pytest.MonkeyPatch, kind: str, ready: bool
) -> None:
    namespace, retention = f"another-{kind.lower()}", Duration(seconds=86_400)
    await temporal.workflow_service.register_namespace(
        RegisterNamespaceRequest(namespace=namespace, workflow_execution_retention_period=retention)
    )
    types = {name: IndexedValueType.Value(f"INDEXED_VALUE_TYPE_{of.upper()}") for name, of in SEARCH_ATTRIBUTES.items()}
    types |= {"HoldExpiresAt": IndexedValueType.Value(f"INDEXED_VALUE_TYPE_{kind}")}
    attributes = AddSearchAttributesRequest(namespace=namespace, search_attributes=types)

    async def added() -> bool:
        with suppress(RPCError):  # not every part of the server knows the namespace yet
            await temporal.operator_service.add_search_attributes(attributes)
            return True
        return False

    await until(added, "the namespace has the attributes")
    monkeypatch.setenv("TEMPORAL_NAMESPACE", namespace)
    async with neighbour(stack) as http:

        async def known() -> bool:
            return (await parts_of(http))["search_attributes"] == ("ok" if ready else "search_attributes_missing")

        await until(known, "readiness knows the attributes")
        assert (await http.get("/readyz")).status_code == (200 if ready else 503)
        if ready:
            client = await Client.connect(temporal.service_client.config.target_host, namespace=namespace)
            options = start_options(HoldInput(SHOP, "h1", (Line("TEE", "", 1),), 60, 3600, 30_000))

            async def started() -> bool:
                with suppress(RPCError):  # a part of the server learns of the attributes later
                    return bool(await client.start_workflow("any", task_queue="nobody", **options))
                return False

            await until(started, "the workflow of a hold is started")
        else:
            detail = (await http.get("/readyz")).json()["parts"]["search_attributes"]["detail"]
            assert detail.startswith("HoldExpiresAt is a Int in the namespace"), detail
