"""Tracing: one trace from a request through its workflow to the activities, and nothing that waits for a collector."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from structlog.testing import capture_logs
from temporalio.client import Client
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from core.data_converter import data_converter
from core.settings import Settings
from core.temporal import connect
from core.temporal_tracing import TraceContextInterceptor
from core.tracing import ProcessTracing, start_tracing
from tests.api.asking import HOLDS, neighbour
from tests.collector import Collector, collecting
from tests.e2e.deployment import deployed
from tests.paying import event, named, signed
from tests.stack import SANDBOX, SHOP, Stack, environment, running_stack
from worker import make_worker
from workflows.hold import HoldWorkflow

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
SECRET = "whsec_tracing"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have spans delivered soon."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


def worker_tracing(url: str) -> tuple[ProcessTracing, TracerProvider]:
    """Return the tracing of a worker that exports to the URL, and its provider."""
    settings = Settings.read({"DATABASE_URL": "postgresql://", "OTEL_EXPORTER_OTLP_ENDPOINT": url})
    tracing = start_tracing(settings, "holdfast-worker")
    assert tracing.provider is not None
    return tracing, tracing.provider


@asynccontextmanager
async def traced_client(temporal: Client, url: str) -> AsyncIterator[Client]:
    """Connect to the same Temporal as a worker that is traced does."""
    tracing, provider = worker_tracing(url)
    environment = {"TEMPORAL_ADDRESS": temporal.service_client.config.target_host}
    yield await connect(None, environment=environment, tracer_provider=provider)
    await tracing.close()


@asynccontextmanager
async def traced(database: str, temporal: Client, url: str) -> AsyncIterator[Stack]:
    """Run the product, API and worker traced."""
    async with (
        traced_client(temporal, url) as client,
        running_stack(database, client, OTEL_EXPORTER_OTLP_ENDPOINT=url, STRIPE_WEBHOOK_SECRET=SECRET) as stack,
    ):
        await stack.put(10)
        yield stack


@pytest.fixture
async def stack(database: str, temporal: Client, collector: Collector) -> AsyncIterator[Stack]:
    async with traced(database, temporal, collector.url) as running:
        yield running


CREATE = f"POST {HOLDS}"
START = "StartUpdateWithStartWorkflow:HoldWorkflow"
FROM_A_CALLER = {"baggage": "customer=alice@example.com", "tracestate": "vendor=00f067aa"}


async def test_a_callers_trace_goes_through_the_workflow_to_the_activity(stack: Stack, collector: Collector) -> None:
    body = {"shopId": SHOP, "items": [{"sku": "TEE", "quantity": 1}]}
    made = (await stack.http.post(HOLDS, json=body, headers=TRACEPARENT)).json()
    reserved = await collector.one("RunActivity:reserve")
    request = await collector.one(CREATE)
    assert reserved.trace == TRACE
    assert request.parent == CALLER
    assert collector.edges(TRACE) == {
        ("", CREATE),
        (CREATE, START),
        (START, "RunWorkflow:HoldWorkflow"),
        (START, "HandleUpdate:reserved"),
        (START, "StartActivity:reserve"),
        ("StartActivity:reserve", "RunActivity:reserve"),
    }
    assert {span.service for span in collector.spans} == {"holdfast-api", "holdfast-worker"}
    ids = {"holdfast.shop_id": SHOP, "holdfast.hold_id": made["holdId"]}
    assert ids.items() <= request.attributes.items()
    assert reserved.attributes["temporalWorkflowID"] == f"hold:{SHOP}:{made['holdId']}"


async def test_what_comes_later_is_a_trace_of_its_own_to_which_the_holds_is_linked(
    stack: Stack, collector: Collector
) -> None:
    hold = (await stack.made())["holdId"]
    assert (await stack.post(hold, "commit")).status_code == 200
    sent = await collector.one("StartWorkflowUpdate:commit")
    handled = await collector.one("HandleUpdate:commit")
    request = await collector.one(f"POST {HOLDS}/{{shopId}}/{{holdId}}/commit", holdfast__hold_id=hold)
    assert sent.parent == request.id
    assert handled.links == (sent.id,)
    assert handled.trace == (await collector.one(START)).trace != sent.trace
    settled = await collector.one("RunActivity:settle")
    assert settled.trace == handled.trace
    assert ("StartActivity:settle", "RunActivity:settle") in collector.edges(handled.trace)


async def test_a_webhooks_trace_is_linked_to_the_hold_that_it_pays_for(stack: Stack, collector: Collector) -> None:
    hold = (await stack.made())["holdId"]
    body = json.dumps(event("payment_intent.succeeded", {"id": f"pi_{hold}", "metadata": named(hold)})).encode()
    header = {"Stripe-Signature": signed(body, SECRET)}
    assert (await stack.http.post("/api/webhooks/stripe", content=body, headers=header)).status_code == 200
    heard = await collector.one("StartWorkflowUpdate:payment_succeeded")
    handled = await collector.one("HandleUpdate:payment_succeeded")
    request = await collector.one("POST /api/webhooks/stripe")
    assert heard.parent == request.id
    assert request.attributes["holdfast.hold_id"] == hold
    assert handled.links == (heard.id,)
    assert (await collector.one("CompleteWorkflow:HoldWorkflow")).trace == handled.trace


async def test_a_trace_has_no_words_of_errors_or_queries_and_a_history_no_baggage(
    stack: Stack, collector: Collector
) -> None:
    body = {"shopId": SHOP, "holdId": "h-1", "items": [{"sku": "TEE", "quantity": 1}]}
    await stack.http.post(HOLDS, json=body, headers=TRACEPARENT | FROM_A_CALLER)
    await stack.http.get(HOLDS, params={"shopId": SHOP, "customer": "alice@example.com"})
    await stack.post("h-none", "commit")  # Temporal's error has words: workflow not found for ID
    await collector.one("StartWorkflowUpdate:commit")
    await collector.one(f"GET {HOLDS}")
    posted, history = b"".join(collector.posted), (await stack.run_of("h-1").fetch_history()).to_json()
    assert b"exception" in posted
    assert b"not found" not in posted
    assert b"alice" not in posted
    assert "_tracer-data" in history
    assert not [name for name in FROM_A_CALLER if name in history]


async def test_what_polls_has_no_spans(stack: Stack, collector: Collector) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/api/inventory/health"):
        assert (await stack.http.get(path)).status_code == 200
    await stack.made()
    await collector.one("RunActivity:reserve")
    assert not [span for span in collector.spans if span.name.startswith("GET")]


async def test_holds_go_on_whether_tracing_is_turned_on_or_off_meanwhile(
    database: str, temporal: Client, collector: Collector
) -> None:
    async with (
        running_stack(database, temporal, with_worker=False) as stack,
        traced_client(temporal, collector.url) as client,
    ):
        traced_worker = make_worker(
            client,
            stack.stock,
            stack.payments,
            task_queue=stack.task_queue,
            workflow_runner=SANDBOX,
        )
        await stack.put(10)
        async with stack.worker():
            untraced = (await stack.made())["holdId"]
        async with traced_worker, neighbour(stack, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as http:
            body = {"shopId": SHOP, "items": [{"sku": "TEE", "quantity": 1}]}
            begun = (await http.post(HOLDS, json=body)).json()["holdId"]
            assert (await http.post(f"{HOLDS}/{SHOP}/{untraced}/commit")).json()["status"] == "committed"
        async with stack.worker():
            assert (await stack.post(begun, "release")).json()["status"] == "released"
        histories = [await stack.run_of(hold).fetch_history() for hold in (untraced, begun)]
    _, provider = worker_tracing(collector.url)
    for interceptors in ([], [TraceContextInterceptor(provider)]):
        replayer = Replayer(
            workflows=[HoldWorkflow],
            data_converter=data_converter,
            workflow_runner=UnsandboxedWorkflowRunner(),
            interceptors=interceptors,
        )
        for history in histories:
            await replayer.replay_workflow(history)


async def test_no_request_waits_for_a_collector_that_never_answers(
    database: str, temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.1")
    with collecting(answers=False) as collector, capture_logs() as lines:
        async with traced(database, temporal, collector.url) as stack:
            while len(collector.posted) < 4:
                hold = (await stack.made())["holdId"]
                assert (await stack.post(hold, "release")).status_code == 200
            collector.answers.set()
            await stack.made()
            await collector.until(lambda: bool(collector.named("RunActivity:reserve")))
    # Once for the API and once for the worker, which are one process here.
    assert sorted(line["spans_lost"] for line in lines if "spans_lost" in line) == [False, False, True, True]


async def test_a_process_stops_although_its_last_spans_cannot_be_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    began, exported = threading.Event(), threading.Event()

    def shut_down_without_end() -> None:
        began.set()
        exported.wait()

    with collecting(answers=False) as collector:
        tracing, provider = worker_tracing(collector.url)
        provider.get_tracer("test").start_span("the last").end()
        await collector.until(lambda: bool(collector.posted))
        shut_down = provider.shutdown
        # The library's own limit is not the one under test.
        monkeypatch.setattr(provider, "shutdown", shut_down_without_end)
        await tracing.close()
        assert began.is_set()
        exported.set()
        collector.answers.set()
        await asyncio.to_thread(shut_down)


async def test_processes_deliver_what_is_left_when_they_stop_and_their_logs_name_the_trace(
    database: str, temporal: Client, collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=shop")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "stock")
    address = temporal.service_client.config.target_host
    async with deployed(tmp_path, database, address, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as deployment:
        worker = await deployment.start_worker()
        await deployment.put("TEE", 1)
        hold = (await deployment.made("h-flushed", "TEE"))["holdId"]
        assert not collector.spans
        for child in (deployment.api, worker):
            await asyncio.to_thread(child.stop)
        logged = [json.loads(line) for line in worker.output().splitlines() if "inventory_hold_created" in line]
    request, activity = collector.named(CREATE)[0], collector.named("RunActivity:reserve")[0]
    assert request.attributes["holdfast.hold_id"] == hold
    assert (activity.trace, activity.service) == (request.trace, "stock")
    assert [(line["trace_id"], line["span_id"]) for line in logged] == [(activity.trace, activity.id)]
    assert all(headers["x-team"] == "shop" for headers in collector.headers)


def test_the_sdk_can_be_disabled_as_everywhere(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    _, provider = worker_tracing(collector.url)
    span = provider.get_tracer("test").start_span("none")
    assert not span.is_recording()


OFF = """
import sys
import worker
from api.app import create_app
from core.settings import Settings
from core.logging import configure_logging
create_app(Settings.read())
configure_logging("json", traced=False)
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))])
"""


def test_without_a_collector_nothing_is_imported_that_traces() -> None:
    variables = {**os.environ, **environment("postgresql://127.0.0.1/none"), "OTEL_EXPORTER_OTLP_ENDPOINT": ""}
    done = subprocess.run([sys.executable, "-c", OFF], env=variables, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
