"""The counters count once for each real change; /metrics covers every process."""

import asyncio
import os
import re
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from temporalio.client import Client

from api import gauges as census
from api import metrics_text
from core.metrics import SHOP_LIMIT, Telemetry
from dev.ports import free_port
from domain.payments import Payment
from domain.smoke import SMOKE_SHOP
from holds.workflow_client import WorkflowClient
from tests.api.asking import HOLDS, ITEMS, VALIDATE, client, expired, fresh, locked, refused
from tests.forks import ForkedChild
from tests.stack import NO_TLS, SHOP, Stack, environment, running_stack
from tests.waiting import until
from workflows.late_payment import LatePaymentWorkflow
from workflows.payment_messages import CloseCase, LatePayment, late_payment_workflow_id

CART = {"shopId": SHOP, "items": [{"sku": "TEE", "quantity": 1}]}
COUNTERS = ["created", "committed", "released", "expired", "extended", "insufficient", "busy", "error"]


@pytest.fixture
async def stack(own_stack: Stack) -> Stack:
    """A product for each test: its metrics begin at 0."""
    return own_stack


def counts(stack: Stack) -> dict[str, float]:
    """Return the counters that are not 0."""
    found = {name: stack.counted(f"inventory_hold_{name}") for name in COUNTERS}
    return {name: value for name, value in found.items() if value}


async def test_each_change_counts_once_and_its_repeats_count_nothing(stack: Stack) -> None:
    await stack.put(9)
    key, extension = fresh(), fresh()
    for _ in range(3):
        sold = (await stack.create(key=key)).json()["holdId"]
        await stack.post(sold, "extend", {"ttlSeconds": 60}, key=extension)
    given_back = (await stack.made())["holdId"]
    gone = (await expired(stack, fresh("gone")))["holdId"]
    for _ in range(3):
        await stack.post(sold, "commit")
        await stack.post(given_back, "release")
        await stack.post(gone, "release")
        refused(await stack.post(gone, "commit"), 409, "hold_not_active")
    assert counts(stack) == {"created": 3, "committed": 1, "released": 1, "expired": 1, "extended": 1}


async def test_a_shortage_counts_once_whoever_found_it(stack: Stack) -> None:
    await stack.put(2)
    refused(await stack.create(("TEE", 3)), 409, "insufficient_stock")
    answers = await asyncio.gather(*(stack.create() for _ in range(5)))
    short = sum(answer.status_code == 409 for answer in answers)
    assert counts(stack) == {"created": 2, "insufficient": 1 + short}


async def test_rejected_stock_is_labelled_by_sku_only_where_the_item_exists(stack: Stack) -> None:
    await stack.put(1)
    await stack.create(("TEE", 2), ("made-up", 1))
    await stack.http.post(VALIDATE, json={"shopId": SHOP, "items": [{"sku": "TEE", "quantity": 5}]})
    rejected = {
        sku: stack.api_metrics.get_sample_value("checkout_rejected_stock_total", {"sku": sku})
        for sku in ("TEE", "other", "made-up")
    }
    assert rejected == {"TEE": 2, "other": 1, "made-up": None}


async def test_validations_are_counted_by_their_result(stack: Stack) -> None:
    await stack.put(1)
    await stack.http.post(VALIDATE, json=CART)
    await stack.http.post(VALIDATE, json={"shopId": SHOP, "items": [{"sku": "TEE", "quantity": 5}]})
    for result in ("ok", "insufficient"):
        assert stack.api_metrics.get_sample_value("checkout_inventory_validation_total", {"result": result}) == 1


async def test_busy_and_errors_are_counted(database: str, temporal: Client) -> None:
    async with running_stack(database, temporal, INVENTORY_LOCK_TIMEOUT_MS="50") as stack:
        await stack.put(1)
        async with locked(stack):
            refused(await stack.create(), 429, "inventory_busy")
        assert counts(stack) == {"busy": 1}


async def test_a_deadline_that_waits_for_a_locked_hold_is_counted_as_busy(database: str, temporal: Client) -> None:
    async with running_stack(database, temporal, INVENTORY_LOCK_TIMEOUT_MS="50") as stack:
        await stack.put(1)
        hold = (await stack.made(ttlSeconds=600))["holdId"]
        url = stack.settings.database_url.get_secret_value()
        async with await psycopg.AsyncConnection.connect(url) as connection:
            await connection.execute('SELECT FROM "InventoryHold" FOR UPDATE')
            extending = asyncio.create_task(stack.post(hold, "extend", {"ttlSeconds": 60}))
            await until(lambda: stack.counted("inventory_hold_busy") > 0, "the wait for the lock is counted")
        assert (await extending).status_code == 200


async def test_requests_are_timed_by_route_and_not_by_what_callers_make_up(stack: Stack) -> None:
    await stack.http.get(f"{HOLDS}/{SHOP}/abc")
    await stack.http.get("/made/up/path")
    await stack.http.request("PROPFIND", "/made/up")
    text = (await stack.http.get("/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    labels = {(s.labels["route"], s.labels["method"]) for s in families["inventory_request_seconds"].samples}
    assert labels == {(f"{HOLDS}/{{shopId}}/{{holdId}}", "GET"), ("unknown", "GET"), ("unknown", "other")}


async def test_the_series_of_a_shop_are_few_and_those_of_all_shops_are_bounded(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_text, "_SHARE", 0)
    monkeypatch.setattr(census, "KEPT_SECONDS", 0.0)
    for number in range(4):
        shop = f"shop-{number}"
        items = {"shopId": shop, "items": [{"sku": "TEE", "onHand": 9}]}
        assert (await stack.http.put(ITEMS, json=items)).status_code == 200
        for verb in ("commit", "release", None):
            hold = (await stack.made(shopId=shop))["holdId"]
            if verb is not None:
                assert (await stack.http.post(f"{HOLDS}/{shop}/{hold}/{verb}")).status_code == 200
        refused(await stack.create(("TEE", 99), shopId=shop), 409, "insufficient_stock")
    registry = CollectorRegistry()
    telemetry = Telemetry(registry)
    for number in range(SHOP_LIMIT + 50):
        telemetry.count("inventory_hold_created", shop_id=f"shop-{number}")

    api = (await stack.http.get("/metrics")).text
    worker, crowded = (generate_latest(each).decode() for each in (stack.worker_metrics, registry))
    of_each = {shop: series(api, shop) + series(worker, shop) for shop in (f"shop-{n}" for n in range(4))}
    assert set(of_each.values()) == {2 + 1 + 3}, of_each  # gauges; insufficient; created, committed, released
    assert crowded.count("inventory_shop_holds_total{") == SHOP_LIMIT + 1  # and `other`


def series(text: str, shop: str) -> int:
    """Return how many series the shop has."""
    return text.count(f'shop="{shop}"')


async def test_callers_at_the_same_time_cause_one_rendering_off_the_event_loop(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[threading.Thread] = []

    def render(registry: CollectorRegistry) -> bytes:
        rendered.append(threading.current_thread())
        return generate_latest(registry)

    monkeypatch.setattr(metrics_text, "_SHARE", 1_000_000)  # a slow machine may need longer than ten renderings
    for module in (metrics_text, census):
        monkeypatch.setattr(module, "generate_latest", render)
    texts = await asyncio.gather(*(stack.http.get("/metrics") for _ in range(20)))
    assert all("inventory_hold_created_total" in answer.text for answer in texts)
    assert len(rendered) == 2  # the registry, and what is counted in the database
    assert threading.main_thread() not in rendered


async def test_active_holds_come_from_the_database(stack: Stack) -> None:
    await stack.put(9)
    await stack.made()
    await stack.made()
    text = (await stack.http.get("/metrics")).text
    assert 'inventory_holds_active{shop="shop-1"} 2.0' in text
    assert 'inventory_holds_overdue{shop="shop-1"} 0.0' in text


async def test_late_payments_are_counted_as_long_as_they_are_open(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(census, "KEPT_SECONDS", 0.0)
    open_before = await open_late_payments(stack)
    late = LatePayment(SHOP, "h-gone", Payment("pi_counted"))
    await WorkflowClient(stack.temporal, stack.task_queue).start_late_payment(
        LatePayment(SMOKE_SHOP, "h-gone", Payment("pi_smoke"))
    )
    await until(lambda: listed(stack, "pi_smoke"), "Temporal lists the smoke test's")
    case = await stack.temporal.start_workflow(
        LatePaymentWorkflow.run, late, id=late_payment_workflow_id("pi_counted"), task_queue=stack.task_queue
    )

    async def counted(expected: int) -> bool:
        return await open_late_payments(stack) == expected

    await until(lambda: counted(open_before + 1), "the open case is counted")
    await case.signal(LatePaymentWorkflow.close, CloseCase("mara", "refunded by hand"))
    await until(lambda: counted(open_before), "the closed case is no longer counted")


async def listed(stack: Stack, payment: str) -> bool:
    return (await stack.temporal.count_workflows(f"WorkflowId = '{late_payment_workflow_id(payment)}'")).count == 1


async def open_late_payments(stack: Stack) -> int:
    (line,) = re.findall(r"^inventory_late_payments_open (\S+)$", (await stack.http.get("/metrics")).text, re.MULTILINE)
    return int(float(line))


async def test_active_holds_are_counted_once_however_often_they_are_scraped(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stack.put(9)
    await stack.made()
    await asyncio.gather(*(stack.http.get("/metrics") for _ in range(3)))
    await stack.made()
    assert 'inventory_holds_active{shop="shop-1"} 1.0' in (await stack.http.get("/metrics")).text
    monkeypatch.setattr(census, "KEPT_SECONDS", 0.0)
    assert 'inventory_holds_active{shop="shop-1"} 2.0' in (await stack.http.get("/metrics")).text


async def test_overdue_holds_are_told_where_the_active_ones_cannot_be_counted_in_time(
    database: str, temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inventory.gauges._ACTIVE", "SELECT pg_sleep(9)")
    async with running_stack(database, temporal, with_worker=False, INVENTORY_LOCK_TIMEOUT_MS="50") as stack:
        text = (await stack.http.get("/metrics")).text
    assert 'inventory_holds_overdue{shop="other"} 0.0' in text
    assert "inventory_holds_active" not in text


async def test_metrics_are_served_without_the_database_and_then_active_holds_are_unknown(temporal: Client) -> None:
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    async with running_stack(nowhere, temporal, with_worker=False) as stack:
        text = (await stack.http.get("/metrics")).text
    assert "inventory_hold_created_total 0.0" in text
    assert "inventory_holds_active" not in text


@asynccontextmanager
async def program(folder: Path, module: str, *arguments: str, ready: str, **changes: str) -> AsyncIterator[None]:
    """Run a program of ours until it answers, and end it."""
    child = ForkedChild(module, module, arguments, log=folder / f"{module}.log", env={**os.environ, **changes})
    child.start()
    try:
        async with httpx.AsyncClient(verify=NO_TLS) as http:

            async def answers() -> bool:
                assert child.alive, child.output()
                try:
                    return bool((await http.get(ready)).status_code == 200)
                except httpx.TransportError:
                    return False

            await until(answers, f"{module} answers")
        yield
    finally:
        await asyncio.to_thread(child.stop)


async def scraped(url: str) -> dict[str, float]:
    """Return the sum of each sample over its labels; of workflows, only those of holds: an audit may run meanwhile."""
    async with httpx.AsyncClient(verify=NO_TLS) as http:
        text = (await http.get(url)).text
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels.get("workflow_type", "HoldWorkflow") != "HoldWorkflow":
                continue
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return sums


async def healthy(metrics: int) -> bool:
    """Return what the health check of docker-compose.yml says of the worker whose metrics are at that port."""
    compose = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.yml").read_text())
    _, _, *check = compose["services"]["worker"]["healthcheck"]["test"]
    check = [argument.replace("9464", str(metrics)) for argument in check]
    process = await asyncio.create_subprocess_exec(sys.executable, *check)
    return await process.wait() == 0


async def test_a_worker_that_does_not_reach_temporal_is_not_healthy_though_its_metrics_answer(
    database: str, tmp_path: Path
) -> None:
    metrics = free_port()
    variables = environment(database, TEMPORAL_ADDRESS=f"127.0.0.1:{free_port()}")
    working = ("worker", "--metrics-port", str(metrics))
    async with program(tmp_path, *working, ready=f"http://127.0.0.1:{metrics}/metrics", **variables):
        assert not await healthy(metrics)


@pytest.mark.parametrize("processes", [1, 2])
async def test_metrics_cover_every_process_of_api_and_worker(
    database: str, temporal: Client, tmp_path: Path, processes: int
) -> None:
    api, metrics = free_port(), free_port()
    url, worker_metrics = f"http://127.0.0.1:{api}", f"http://127.0.0.1:{metrics}/metrics"
    address = temporal.service_client.config.target_host
    variables = environment(database, TEMPORAL_ADDRESS=address, INVENTORY_REQUEST_TIMEOUT_MS="30000")
    serving = ("cli.main", "api", "--port", str(api), "--workers", str(processes))
    working = ("worker", "--processes", str(processes), "--metrics-port", str(metrics))
    async with (
        program(tmp_path, *serving, ready=f"{url}/readyz", **variables),
        program(tmp_path, *working, ready=worker_metrics, **variables),
    ):
        async with client(url) as http:
            await http.put(ITEMS, json={"shopId": SHOP, "items": [{"sku": "TEE", "onHand": 9}]})
        for _ in range(9):  # a connection each, so that every process gets some
            async with client(url) as http:
                await http.post(VALIDATE, json=CART)
                hold = (await http.post(HOLDS, json=CART)).json()["holdId"]
                assert (await http.post(f"{HOLDS}/{SHOP}/{hold}/commit")).status_code == 200
        async with client(url) as http:
            assert (await http.get("/livez", headers={"X": "x" * 20_000})).status_code == 431
        of_api = [await scraped(f"{url}/metrics") for _ in range(4)]
        of_worker = await scraped(worker_metrics)
        assert await healthy(metrics)
    assert {sums["checkout_inventory_validation_total"] for sums in of_api} == {9}
    assert {sums["inventory_connections_closed_total"] for sums in of_api} == {1}
    assert of_worker["inventory_hold_created_total"] == of_worker["inventory_hold_committed_total"] == 9
    assert of_worker["inventory_hold_commit_age_seconds_count"] == 9
    assert of_worker["temporal_workflow_completed_total"] == 9
