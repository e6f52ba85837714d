"""The product under test, whole: the API over real HTTP, a worker, real Postgres, real Temporal."""

import asyncio
import socket
import ssl
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.background_worker import background_worker
from activities.payments import PaymentActivities
from activities.stock import StockActivities
from api.admission import Admission
from api.app import create_app
from core.api_settings import ApiSettings
from core.database import DatabaseBusyError, create_engine, fetch
from core.metrics import Telemetry
from core.settings import Settings
from payments.accounts import open_accounts
from tests.servers import EMPTY
from tests.waiting import until
from worker import make_worker
from workflows.hold import HoldWorkflow
from workflows.messages import Ended, hold_workflow_id

AUTHORITY_TOKEN = "a" * 40
ADMIN_TOKEN = "b" * 40
SHOP = "shop-1"
PROTOCOL = "api.http_protocol:LimitedProtocol"
"""As `holdfast api` serves."""
KEEP_ALIVE_SECONDS = ApiSettings.read({}).api_keep_alive_seconds
"""More than httpx keeps an idle connection (5 s), which is uvicorn's default too: else a request meets its end."""
SANDBOX = SandboxedWorkflowRunner(SandboxRestrictions.default.with_passthrough_modules("domain"))
"""Imports workflow code anew for each run, except for the shared values, which have no state: a third of a test's time.

So most tests run workflows as production does. Every committed history replays in the sandbox.
"""
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients of `http://` addresses: a context of their own would load the certificates of all authorities."""
PATIENT = {"INVENTORY_REQUEST_TIMEOUT_MS": "30000", "INVENTORY_LOCK_TIMEOUT_MS": "4000"}
"""What is expected to succeed has time on a slow machine. A test of a time-out sets its own."""

Series = tuple[str, frozenset[tuple[str, str]]]
"""A sample's name and its labels."""


@dataclass
class Stack:
    """What a test holds of the running product."""

    url: str
    http: httpx.AsyncClient
    """With the admin token."""
    engine: AsyncEngine
    temporal: Client
    task_queue: str
    api_metrics: CollectorRegistry
    worker_metrics: CollectorRegistry
    settings: Settings
    stock: StockActivities
    payments: PaymentActivities
    workflow_runner: WorkflowRunner | None
    cached_workflows: int
    telemetry: Telemetry
    app: FastAPI
    _earlier: Counter[Series] = field(default_factory=Counter)
    """What was counted before the last `renew`."""

    async def renew(self) -> None:
        """Make it as good as new for the next test: no row, no count, no memory of slow answers.

        Workflows of earlier tests may still run: they find no row of theirs.
        """
        await until(self._emptied, "the tables are empty")
        resources = self.app.state.resources
        self.app.state.resources = replace(resources, admission=Admission(self.settings, resources.telemetry))
        self._earlier = self._series()

    async def _emptied(self) -> bool:
        try:
            await fetch(self.engine, EMPTY, {})
        except DatabaseBusyError:  # a background task that reads two tables can be in the way
            return False
        return True

    async def put(self, on_hand: int, sku: str = "TEE", variant: str = "") -> None:
        """Set an item's count."""
        body = {"shopId": SHOP, "items": [{"sku": sku, "variantKey": variant, "onHand": on_hand}]}
        answer = await self.http.put("/api/inventory/items", json=body)
        assert answer.status_code == 200, answer.text

    async def limit(
        self, sku: str = "TEE", *, max_per_order: int | None = None, max_per_buyer: int | None = None
    ) -> None:
        """Set the limits of an item; its count stays."""
        on_hand = sum(await self.stock_of(sku))
        item = {"sku": sku, "onHand": on_hand, "maxPerOrder": max_per_order, "maxPerBuyer": max_per_buyer}
        answer = await self.http.put("/api/inventory/items", json={"shopId": SHOP, "items": [item]})
        assert answer.status_code == 200, answer.text

    async def create(self, *items: tuple[str, int], key: str | None = None, **fields: Any) -> httpx.Response:
        """Ask for a hold of (sku, quantity) lines; TEE x 1 when none is named."""
        lines = [{"sku": sku, "quantity": quantity} for sku, quantity in items or (("TEE", 1),)]
        headers = {"Idempotency-Key": key} if key is not None else {}
        body = {"shopId": SHOP, "items": lines, **fields}
        return await self.http.post("/api/inventory/holds", json=body, headers=headers)

    async def made(self, *items: tuple[str, int], **fields: Any) -> dict[str, Any]:
        """Make a hold and return it."""
        answer = await self.create(*items, **fields)
        assert answer.status_code == 201, answer.text
        hold: dict[str, Any] = answer.json()
        return hold

    async def post(
        self, hold_id: str, verb: str, body: Mapping[str, Any] | None = None, key: str | None = None
    ) -> httpx.Response:
        """Commit, release or extend a hold."""
        headers = {"Idempotency-Key": key} if key is not None else {}
        return await self.http.post(f"/api/inventory/holds/{SHOP}/{hold_id}/{verb}", json=body, headers=headers)

    async def amend(
        self, hold_id: str, *items: tuple[str, int], key: str | None = None, **fields: Any
    ) -> httpx.Response:
        """Ask for a change of a hold: of its (sku, quantity) lines, if any is named, and of other fields."""
        headers = {"Idempotency-Key": key} if key is not None else {}
        lines = {"items": [{"sku": sku, "quantity": quantity} for sku, quantity in items]} if items else {}
        return await self.http.patch(
            f"/api/inventory/holds/{SHOP}/{hold_id}", json={**lines, **fields}, headers=headers
        )

    async def read(self, hold_id: str) -> dict[str, Any]:
        """Read a hold."""
        answer = await self.http.get(f"/api/inventory/holds/{SHOP}/{hold_id}")
        assert answer.status_code == 200, answer.text
        hold: dict[str, Any] = answer.json()
        return hold

    async def stock_of(self, sku: str = "TEE") -> tuple[int, int]:
        """Return what can be sold of the item and what is held."""
        answer = await self.http.get("/api/inventory/items", params={"shopId": SHOP, "sku": sku})
        item = answer.json()["items"][0]
        return item["quantity"], item["held"]

    def run_of(self, hold_id: str) -> WorkflowHandle[HoldWorkflow, Ended]:
        """Return the handle of a hold's workflow."""
        return self.temporal.get_workflow_handle_for(HoldWorkflow.run, hold_workflow_id(SHOP, hold_id))

    def worker(self) -> Worker:
        """Make another worker of this stack."""
        return make_worker(
            self.temporal,
            self.stock,
            self.payments,
            task_queue=self.task_queue,
            workflow_runner=self.workflow_runner,
            cached_workflows=self.cached_workflows,
        )

    def background_worker(self) -> AbstractAsyncContextManager[None]:
        """Run the audit, the alerts and the events of this stack."""
        return background_worker(
            self.temporal,
            self.settings,
            self.telemetry,
            task_queue=self.task_queue,
            workflow_runner=self.workflow_runner,
            scheduled=False,
        )

    def counted(self, metric: str, **labels: str) -> float:
        """Return a counter's value, API and worker together; over all series that have these labels."""
        return self.sampled(f"{metric}_total", **labels)

    def sampled(self, sample: str, **labels: str) -> float:
        """Return how much a sample has grown since the last `renew`, as `counted` does."""
        return sum(
            value - self._earlier[series]
            for series, value in self._series().items()
            if series[0] == sample and labels.items() <= series[1]
        )

    def _series(self) -> Counter[Series]:
        sums: Counter[Series] = Counter()
        for registry in (self.api_metrics, self.worker_metrics):
            for family in registry.collect():
                for sample in family.samples:
                    sums[sample.name, frozenset(sample.labels.items())] += sample.value  # type: ignore[assignment]
        return sums


def environment(database: str, **changes: str) -> dict[str, str]:
    """Return the environment of the product under test.

    The API runs no holds unless `changes` say so: then a test knows which process has a hold's tasks.
    """
    return {
        "HOLDFAST_API_RUNS_HOLDS": "0",
        "DATABASE_URL": database,
        "INVENTORY_MODE": "reserve_ttl",
        "INVENTORY_AUTHORITY_TOKEN": AUTHORITY_TOKEN,
        "INVENTORY_ADMIN_TOKEN": ADMIN_TOKEN,
        **changes,
    }


@asynccontextmanager
async def running_stack(
    database: str,
    temporal: Client,
    *,
    with_worker: bool = True,
    workflow_runner: WorkflowRunner | None = None,
    cached_workflows: int = 500,
    **changes: str,
) -> AsyncIterator[Stack]:
    """Run the product; `changes` are environment variables. Without a worker, a test starts `stack.worker()` itself."""
    settings = Settings.read(environment(database, **(PATIENT | changes)))
    task_queue = f"test-{uuid.uuid4().hex}"
    api_metrics, worker_metrics = CollectorRegistry(), CollectorRegistry()
    engine = create_engine(settings)
    telemetry = Telemetry(worker_metrics)
    app = create_app(settings, task_queue=task_queue, registry=api_metrics)
    async with (
        open_accounts(settings) as payment_accounts,
        serving(app, http=PROTOCOL) as url,
        httpx.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}, timeout=120, verify=NO_TLS
        ) as http,
    ):
        stack = Stack(
            url=url,
            http=http,
            engine=engine,
            temporal=temporal,
            task_queue=task_queue,
            api_metrics=api_metrics,
            worker_metrics=worker_metrics,
            settings=settings,
            stock=StockActivities(engine, telemetry, settings.late_payment_policy, settings.buyer_limits),
            payments=PaymentActivities(
                engine, telemetry, payment_accounts, settings.payment_graces, settings.checkout_secrets
            ),
            workflow_runner=workflow_runner,
            cached_workflows=cached_workflows,
            telemetry=telemetry,
            app=app,
        )
        async with (
            stack.worker() if with_worker else nullcontext(),
            stack.background_worker() if with_worker else nullcontext(),
        ):
            yield stack
    await engine.dispose()


@asynccontextmanager
async def serving(app: Any, http: str = "auto", send_buffer: int | None = None) -> AsyncIterator[str]:
    """Serve an ASGI application on a free port of this machine, in this event loop; yields its URL."""
    listener = socket.socket(proto=socket.IPPROTO_TCP)  # without it asyncio leaves Nagle on: 40 ms an answer
    if send_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=http,
            ws="none",
            log_config=None,
            access_log=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=2,
        )
    )
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        if task.done():
            task.result()
        await asyncio.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()
