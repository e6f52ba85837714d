"""Health, liveness and readiness."""

import socket

import httpx
import psycopg
import pytest

from tests.api.asking import HEALTH, neighbour
from tests.stack import Stack
from tests.waiting import until


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
        assert (await stack.http.get(HEALTH)).json()["status"] == "ok"


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
    assert (temporal["reason"], temporal["detail"]) == ("namespace_missing", "Temporal has no namespace nowhere.")


@pytest.mark.parametrize("path", ["/livez", "/readyz", HEALTH, "/metrics"])
async def test_head_answers_as_get_does_without_a_body(shared: Stack, path: str) -> None:
    got, head = await shared.http.get(path), await shared.http.head(path)
    assert (head.status_code, head.headers["content-type"]) == (got.status_code, got.headers["content-type"])
    assert head.content == b""
