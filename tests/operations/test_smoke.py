"""`holdfast smoke` against a running API, healthy and faulty: it names the failing step and cleans up."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx
import psycopg
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs
from temporalio.client import Client

from cli.smoke.client import TIMEOUT_SECONDS, ApiAccess, SmokeClient
from cli.smoke.periodic import PeriodicSmoke
from cli.smoke.scenario import run_scenario
from cli.smoke.steps import SmokeResult, Step
from core.metrics import COUNTERS
from domain.smoke import SMOKE_SHOP
from inventory.gauges import active_holds
from inventory.moments import read_moments
from tests.api.asking import neighbour
from tests.commands import run_holdfast
from tests.paying import Shop
from tests.simulated import SECRET
from tests.stack import ADMIN_TOKEN, AUTHORITY_TOKEN, Stack, environment, running_stack


def access(url: str) -> ApiAccess:
    return ApiAccess(url, AUTHORITY_TOKEN, ADMIN_TOKEN, SECRET)


async def smoke(
    api: ApiAccess,
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
    before_webhook: Callable[[], None] | None = None,
) -> SmokeResult:
    """Run the scenario in a thread, because the API under test serves in this event loop."""
    result = SmokeResult()

    def intercept(request: httpx.Request) -> None:
        if before_webhook is not None and request.url.path == "/api/webhooks/stripe":
            before_webhook()

    def run() -> None:
        with api.connect() as http:
            http.event_hooks = {"request": [intercept]}
            run_scenario(SmokeClient(http, api, timeout_seconds), result)

    await asyncio.to_thread(run)
    return result


async def leftovers(stack: Stack) -> list[dict[str, Any]]:
    """Return the reserved shop's active holds and items with stock."""
    holds = await stack.http.get("/api/inventory/holds", params={"shopId": SMOKE_SHOP, "status": "active"})
    items = await stack.http.get("/api/inventory/items", params={"shopId": SMOKE_SHOP})
    return [*holds.json()["holds"], *(item for item in items.json()["items"] if item["onHand"])]


def names(result: SmokeResult) -> list[str]:
    return [step.name for step in result.steps]


def failed(result: SmokeResult) -> list[Step]:
    return [step for step in result.steps if not step.ok]


@pytest.fixture
async def without_worker(database: str, temporal: Client) -> AsyncIterator[Stack]:
    """An API without a worker. Its short request time-out makes a create return 504 soon."""
    variables: dict[str, Any] = {"STRIPE_WEBHOOK_SECRET": SECRET, "INVENTORY_REQUEST_TIMEOUT_MS": "500"}
    async with running_stack(database, temporal, with_worker=False, **variables) as running:
        yield running


async def test_one_hold_is_paid_one_released_and_one_refused(shop: Shop) -> None:
    before = {hold["holdId"] for hold in await smoke_holds(shop)}
    business = await told_of_business(shop)
    result = await smoke(access(shop.stack.url))
    assert failed(result) == []
    assert names(result) == [
        "health",
        "set stock",
        "validate",
        "validate too many",
        "hold",
        "stock while held",
        "webhook",
        "commit seen",
        "stock after the sale",
        "second hold",
        "release",
        "stock after the release",
        "hold too many",
        "clean up",
    ]
    made = [hold["status"] for hold in await smoke_holds(shop) if hold["holdId"] not in before]
    assert sorted(made) == ["committed", "released"]
    assert await leftovers(shop.stack) == []
    assert await told_of_business(shop) == business


async def told_of_business(shop: Shop) -> dict[str, float]:
    """Return the figures that tell how business goes, and when Stripe last sent an event."""
    names = [f"{name}_total" for name in COUNTERS]
    names += ["inventory_shop_holds_total", "checkout_rejected_stock_total", "checkout_inventory_validation_total"]
    names += ["inventory_stripe_event_total", "inventory_hold_commit_age_seconds_count"]
    return {
        **{name: shop.stack.sampled(name) for name in names},
        **await read_moments(shop.stack.engine),
        **await active_holds(shop.stack.engine, 100),
    }


async def smoke_holds(shop: Shop) -> list[dict[str, Any]]:
    """Return all holds that smoke tests have made."""
    listed = await shop.stack.http.get("/api/inventory/holds", params={"shopId": SMOKE_SHOP, "limit": 500})
    holds: list[dict[str, Any]] = listed.json()["holds"]
    return holds


async def test_without_a_webhook_secret_the_hold_is_committed_through_the_api(shop: Shop) -> None:
    result = await smoke(replace(access(shop.stack.url), webhook_secret=None))
    assert failed(result) == []
    assert "commit" in names(result)
    assert "webhook" not in names(result)
    assert "STRIPE_WEBHOOK_SECRET" in result.not_checked[0]


async def test_the_webhook_is_sent_in_the_mode_of_the_apis_key(shop: Shop) -> None:
    live_key: dict[str, Any] = {"STRIPE_API_KEY": "sk_live_" + "x" * 24, "STRIPE_WEBHOOK_SECRET": SECRET}
    async with neighbour(shop.stack, **live_key) as http:
        api = access(str(http.base_url))
        assert failed(await smoke(api)) == []
        assert failed(await smoke(replace(api, live_key=True))) == []


@pytest.mark.parametrize(
    ("changes", "step", "variable"),
    [
        ({"admin_token": "x" * 40}, "set stock", "INVENTORY_ADMIN_TOKEN"),
        ({"admin_token": AUTHORITY_TOKEN}, "set stock", "INVENTORY_ADMIN_TOKEN"),
        ({"authority_token": "x" * 40}, "set stock", "INVENTORY_AUTHORITY_TOKEN"),
        ({"webhook_secret": "whsec_another"}, "webhook", "STRIPE_WEBHOOK_SECRET"),
        ({"origin": "http://127.0.0.1:1"}, "health", "INVENTORY_AUTHORITY_URL"),
    ],
)
async def test_the_variable_with_a_wrong_token_secret_or_address_is_named(
    shop: Shop, changes: dict[str, Any], step: str, variable: str
) -> None:
    result = await smoke(replace(access(shop.stack.url), **changes))
    first = failed(result)[0]
    assert first.name == step
    assert variable in first.found
    assert await leftovers(shop.stack) == []


async def test_another_server_fails_the_first_step(shop: Shop) -> None:
    result = await smoke(replace(access(shop.stack.url), origin=shop.stripe.url))
    assert [(step.name, step.ok) for step in result.steps] == [("health", False)]


async def test_without_a_worker_the_first_hold_fails_and_no_stock_is_left(without_worker: Stack) -> None:
    result = await smoke(access(without_worker.url), timeout_seconds=1)
    assert failed(result)[0].name == "hold"
    items = (await without_worker.http.get("/api/inventory/items", params={"shopId": SMOKE_SHOP})).json()["items"]
    assert [item["onHand"] for item in items] == [0]


async def test_a_worker_that_stops_before_the_payment_fails_the_commit_and_the_cleanup(
    without_worker: Stack,
) -> None:
    worker, loop = without_worker.worker(), asyncio.get_running_loop()
    working = asyncio.create_task(worker.run())

    def stop_worker() -> None:
        asyncio.run_coroutine_threadsafe(worker.shutdown(), loop).result(60)

    result = await smoke(access(without_worker.url), timeout_seconds=5, before_webhook=stop_worker)
    await working
    assert [step.name for step in failed(result)] == ["commit seen", "clean up"]


async def test_an_interrupt_after_a_hold_was_made_releases_it(shop: Shop) -> None:
    def interrupt() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        await smoke(access(shop.stack.url), before_webhook=interrupt)
    assert await leftovers(shop.stack) == []


async def test_validate_only_and_bypass_check_what_they_can_and_create_no_hold(database: str, temporal: Client) -> None:
    modes: list[dict[str, Any]] = [{"INVENTORY_MODE": "validate_only"}, {"SKIP_INVENTORY_VALIDATION": "1"}]
    for variables in modes:
        async with running_stack(database, temporal, **variables) as stack:
            result = await smoke(access(stack.url))
            assert failed(result) == []
            assert "validate" in names(result)
            assert "hold" not in names(result)
            assert len(result.not_checked) == 1
            assert await leftovers(stack) == []
    with psycopg.connect(database) as connection:
        assert connection.execute('SELECT count(*) FROM "InventoryHold"').fetchone() == (0,)


async def command(shop: Shop, *options: str, **variables: str) -> tuple[int, str]:
    """Run the command in a process of its own, and return its exit code and output."""
    ran = await asyncio.to_thread(
        run_holdfast,
        ("smoke", *options),
        {
            "PATH": os.environ["PATH"],
            **environment("postgresql://nobody@127.0.0.1:1/nothing"),
            "INVENTORY_AUTHORITY_URL": f"{shop.stack.url}/api/inventory",
            "STRIPE_WEBHOOK_SECRET": SECRET,
            **variables,
        },
    )
    return ran.code, ran.out


async def test_the_command_prints_every_step_and_exits_with_0(shop: Shop) -> None:
    code, printed = await command(shop)
    assert code == 0, printed
    assert "commit seen" in printed


async def test_the_command_prints_json_and_exits_with_1_when_a_step_fails(shop: Shop) -> None:
    code, printed = await command(shop, "--json", INVENTORY_ADMIN_TOKEN="x" * 40)
    assert code == 1, printed
    result = json.loads(printed)
    assert result.keys() == {"ok", "steps", "notChecked"}
    assert result["ok"] is False
    assert result["steps"][0].keys() == {"name", "ok", "milliseconds", "found"}
    assert [(step["name"], step["ok"]) for step in result["steps"]][:2] == [("health", True), ("set stock", False)]


async def test_a_periodic_smoke_tells_how_often_it_failed_in_a_row(shop: Shop) -> None:
    right = access(shop.stack.url)
    figures = []
    for token in (ADMIN_TOKEN, "x" * 40):
        registry = CollectorRegistry()
        smoke_test = PeriodicSmoke(replace(right, admin_token=token), 60, registry, with_expiry=False)
        for _ in range(2):
            await asyncio.to_thread(smoke_test.run_once)
            figures.append(registry.get_sample_value("holdfast_smoke_failures"))
    assert figures == [0, 0, 1, 2]


@pytest.mark.parametrize(
    ("after_health", "problem"),
    [
        (httpx.Response(200, html="<h1>Maintenance</h1>"), "answered something else: text/html"),
        (httpx.Response(200, json={"data": []}), "the API answered something else: KeyError 'items'"),
        (httpx.Response(200, json={"items": [None]}), "the API answered something else: TypeError"),
        (RuntimeError("no such case"), "RuntimeError no such case"),
    ],
)
def test_whatever_is_answered_a_periodic_smoke_goes_on_and_counts_its_failures(
    monkeypatch: pytest.MonkeyPatch, after_health: httpx.Response | RuntimeError, problem: str
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/health"):
            return httpx.Response(200, json={"status": "ok", "mode": "reserve_ttl"})
        if isinstance(after_health, RuntimeError):
            raise after_health
        return after_health

    def connect(api: ApiAccess) -> httpx.Client:
        return httpx.Client(base_url=api.origin, transport=httpx.MockTransport(answer))

    monkeypatch.setattr(ApiAccess, "connect", connect)
    registry = CollectorRegistry()
    with capture_logs() as logs:
        smoke_test = PeriodicSmoke(access("http://proxy.example"), 60, registry, with_expiry=False)
        for _ in range(2):
            smoke_test.run_once()
    assert registry.get_sample_value("holdfast_smoke_failures") == 2
    assert [problem in log["problem"] for log in logs if log["event"] == "smoke test failed"] == [True, True], logs


async def test_a_periodic_smoke_runs_until_it_is_told_to_stop(shop: Shop) -> None:
    variables = {
        **os.environ,
        **environment("postgresql://127.0.0.1:1/none"),
        "INVENTORY_AUTHORITY_URL": shop.stack.url,
    }
    command = [sys.executable, "-m", "cli.main", "smoke", "--every", "3600", "--metrics-port", "0"]
    process = await asyncio.create_subprocess_exec(
        *command, env={**variables, "HOLDFAST_LOG_FORMAT": "json"}, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    logged = json.loads(await process.stdout.readline())
    process.terminate()
    assert (logged["event"], await process.wait()) == ("smoke test passed", 0)
