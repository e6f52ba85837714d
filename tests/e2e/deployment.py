"""The product as it runs in production: processes of its own, any of which a test can kill."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowHandle

from core.data_converter import data_converter
from core.database import create_engine, fetch
from core.settings import TASK_QUEUE, Settings
from dev.ports import free_port
from dev.processes import Child
from dev.service_process import answers
from domain.holds import Line
from holds.workflow_client import WorkflowClient
from tests.forks import ForkedChild
from tests.stack import ADMIN_TOKEN, NO_TLS, SHOP, environment
from tests.waiting import LIMIT_SECONDS
from workflows.hold import HoldWorkflow
from workflows.messages import Ended, HoldInput, hold_workflow_id

_OURS = ("HOLDFAST_", "INVENTORY_", "TEMPORAL_", "DATABASE_", "SKIP_INVENTORY", "PROMETHEUS_")


class Deployment:
    """API and worker processes on a Postgres and a Temporal that the test has started itself."""

    def __init__(self, folder: Path, database: str, temporal_address: str, **changes: str) -> None:
        self.database = database
        self.temporal_address = temporal_address
        self._folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(_OURS)},
            **environment(database, **changes),
            "TEMPORAL_ADDRESS": temporal_address,
            "TEMPORAL_CONFIG_FILE": os.devnull,
            "HOLDFAST_LOG_FORMAT": "json",
        }
        self._port = free_port()
        self._started: list[Child] = []
        self.worker_metrics = 0
        """The port of the metrics of the worker that was started last."""
        self.api = self._api()
        self.http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self._port}",
            headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
            timeout=LIMIT_SECONDS,
            trust_env=False,
            verify=NO_TLS,
        )
        self.engine: AsyncEngine = create_engine(Settings.read(environment(database)))
        self.temporal: Client

    @property
    def newest(self) -> Child:
        """The process that was started last, ready or not."""
        return self._started[-1]

    async def connect(self) -> None:
        """Connect the test itself to Temporal."""
        self.temporal = await Client.connect(self.temporal_address, data_converter=data_converter)

    async def start_api(self, **changes: str) -> None:
        """Start the API, its environment changed so, in the place of the one before, and return when it answers."""
        await asyncio.to_thread(self.api.stop, 0)
        self.api = self._api(**changes)
        self.api.start()
        await self._until_ready(self.api, lambda: answers(f"http://127.0.0.1:{self._port}/livez"))

    async def start_worker(
        self, *, database: str = "", processes: int = 1, module: str = "worker", **changes: str
    ) -> Child:
        """Start a worker and return when all its processes poll. It reaches Postgres at `database`."""
        self.worker_metrics = free_port()
        arguments = ("--processes", str(processes), "--metrics-port", str(self.worker_metrics))
        changes["DATABASE_URL"] = database or self.database
        worker = self._child(f"worker-{len(self._started)}", module, *arguments, **changes)
        worker.start()
        await self._until_ready(worker, lambda: answers(f"http://127.0.0.1:{self.worker_metrics}/readyz"))
        return worker

    async def close(self) -> None:
        """Stop all that was started."""
        await self.http.aclose()
        await self.engine.dispose()
        for child in self._started:
            await asyncio.to_thread(child.stop, 0)

    async def put(self, sku: str, on_hand: int) -> None:
        """Set an item's count; ask again for as long as the answer is not known."""
        body = {"shopId": SHOP, "items": [{"sku": sku, "onHand": on_hand}]}
        answer = await _insist(lambda: self.http.put("/api/inventory/items", json=body))
        assert answer.status_code == 200, answer.text

    async def create(self, hold_id: str, sku: str, quantity: int = 1, **fields: object) -> httpx.Response:
        """Ask for a hold of one line."""
        body = {"shopId": SHOP, "holdId": hold_id, "items": [{"sku": sku, "quantity": quantity}], **fields}
        return await self.http.post("/api/inventory/holds", json=body)

    async def made(self, hold_id: str, sku: str, quantity: int = 1, **fields: object) -> dict[str, Any]:
        """Make a hold of one line and return it; ask again for as long as the answer is not known."""
        answer = await _insist(lambda: self.create(hold_id, sku, quantity, **fields))
        assert answer.status_code in (200, 201), answer.text
        hold: dict[str, Any] = answer.json()
        return hold

    async def change(self, hold_id: str, quantity: int) -> httpx.Response:
        """Ask for other units of the hold's own item, and for a reference, with a key."""
        body = {"items": [{"sku": hold_id, "quantity": quantity}], "reference": f"cart-of-{hold_id}"}
        path, headers = f"/api/inventory/holds/{SHOP}/{hold_id}", {"Idempotency-Key": "change"}
        return await self.http.patch(path, json=body, headers=headers)

    async def changed(self, hold_id: str, quantity: int) -> dict[str, Any]:
        """Ask as `change` does, and again for as long as the answer is not known, and return the hold."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while (answer := await self.change(hold_id, quantity)).status_code in (429, 503, 504):
                await asyncio.sleep(0.1)
        assert answer.status_code == 200, answer.text
        hold: dict[str, Any] = answer.json()
        return hold

    async def made_of_own(self, *hold_ids: str) -> None:
        """Make holds of one unit, each of an item of its own by the same name, of which there are ten."""
        for hold_id in hold_ids:
            await self.put(hold_id, 10)
            await self.made(hold_id, hold_id)

    async def made_for(self, seconds: int, hold_id: str, sku: str, quantity: int = 1) -> None:
        """Make a hold that lives shorter than the API lets anybody ask for."""
        hold = HoldInput(
            shop_id=SHOP,
            hold_id=hold_id,
            lines=(Line(sku, "", quantity),),
            ttl_seconds=seconds,
            max_ttl_seconds=3600,
            request_timeout_ms=5000,
        )
        await WorkflowClient(self.temporal, TASK_QUEUE).reserve(hold)

    async def post(self, hold_id: str, verb: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        """Commit, release or extend a hold."""
        return await self.http.post(f"/api/inventory/holds/{SHOP}/{hold_id}/{verb}", json=body)

    async def answered(self, hold_id: str, verb: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Ask as `post` does, and again for as long as the answer is not known, and return the hold."""
        answer = await _insist(lambda: self.post(hold_id, verb, body))
        assert answer.status_code == 200, answer.text
        hold: dict[str, Any] = answer.json()
        return hold

    async def passed_deadline(self, hold_id: str) -> None:
        """Wait until the hold's time is over, by the database's clock."""
        rest = await fetch(self.engine, _REST, {"shop": SHOP, "hold": hold_id})
        await asyncio.sleep(max(float(rest[0]["seconds"]), 0))

    async def row(self, hold_id: str) -> dict[str, Any] | None:
        """Return the hold's row with the number of movements that name it, or None."""
        rows = await fetch(self.engine, _ROW, {"shop": SHOP, "hold": hold_id})
        return dict(rows[0]) if rows else None

    async def status(self, hold_id: str) -> str | None:
        """Return the hold's status as the database has it."""
        row = await self.row(hold_id)
        return None if row is None else str(row["status"])

    async def waiting(self) -> int:
        """Return how many sessions wait for a lock."""
        rows = await fetch(self.engine, _WAITING, {})
        return int(rows[0]["n"])

    def run_of(self, hold_id: str) -> WorkflowHandle[HoldWorkflow, Ended]:
        """Return the handle of a hold's workflow."""
        return self.temporal.get_workflow_handle_for(HoldWorkflow.run, hold_workflow_id(SHOP, hold_id))

    async def end_of(self, hold_id: str) -> str:
        """Wait until the hold's workflow has ended, and return how."""
        async with asyncio.timeout(LIMIT_SECONDS):
            return (await self.run_of(hold_id).result()).status

    async def failed_runs(self) -> list[str]:
        """Return the ids of workflows that failed: none ever may, it would leave its hold to nobody."""
        return [run.id async for run in self.temporal.list_workflows("ExecutionStatus = 'Failed'")]

    def _api(self, **changes: str) -> Child:
        return self._child(f"api-{len(self._started)}", "cli.main", "api", "--port", str(self._port), **changes)

    def _child(self, name: str, *module_and_arguments: str, **changes: str) -> Child:
        module, *arguments = module_and_arguments
        child = ForkedChild(
            name, module, arguments, log=self._folder / f"{name}.log", env={**self.environment, **changes}
        )
        self._started.append(child)
        return child

    async def _until_ready(self, child: Child, ready: Callable[[], bool]) -> None:
        await asyncio.to_thread(child.wait_until, ready, LIMIT_SECONDS)


_WAITING = """
SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""

_REST = """
SELECT extract(epoch FROM "expiresAt" - clock_timestamp()) AS seconds
FROM "InventoryHold" WHERE "shopId" = %(shop)s AND id = %(hold)s
"""

_ROW = """
SELECT h.*, (SELECT count(*) FROM "InventoryMovement" m WHERE m."shopId" = h."shopId" AND m."holdId" = h.id) AS moves
FROM "InventoryHold" h WHERE h."shopId" = %(shop)s AND h.id = %(hold)s
"""


async def _insist(ask: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
    """Repeat a request that may be repeated until its answer is final."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while (answer := await ask()).status_code in (202, 429, 503, 504):
            await asyncio.sleep(0.1)
        return answer


@asynccontextmanager
async def deployed(folder: Path, database: str, temporal_address: str, **changes: str) -> AsyncIterator[Deployment]:
    """Yield a deployment whose API serves and which has no worker yet."""
    deployment = Deployment(folder, database, temporal_address, **changes)
    try:
        await deployment.connect()
        await deployment.start_api()
        yield deployment
    finally:
        await deployment.close()


def kill(child: Child) -> None:
    """End a process at this very moment, and all of its own."""
    child.stop(0)


def kill_alone(child: Child) -> None:
    """End a process at this very moment, and leave its own to themselves."""
    with suppress(ProcessLookupError):
        os.kill(child.pid, signal.SIGKILL)


def freeze(pid: int) -> Callable[[], None]:
    """Halt a process and its own where they are, connections open; returns what lets them go on."""
    try:
        process = psutil.Process(pid)
        frozen = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        frozen = []

    def thaw() -> None:
        for one in frozen:
            with suppress(psutil.NoSuchProcess):
                one.resume()

    for one in frozen:
        with suppress(psutil.NoSuchProcess):
            one.suspend()
    return thaw
