"""What the tests of the API share: refusals, a neighbour of the API in another mode, locked rows, short holds."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

import httpx
import psycopg
from prometheus_client import CollectorRegistry

from api.app import create_app
from core.settings import Settings
from domain.holds import Held, Line
from holds.idempotency import request_hash
from holds.workflow_client import WorkflowClient
from tests.stack import ADMIN_TOKEN, PATIENT, PROTOCOL, SHOP, Stack, environment, serving
from tests.waiting import LIMIT_SECONDS
from workflows.messages import HoldInput

HOLDS = "/api/inventory/holds"
VALIDATE = "/api/inventory/validate"
ITEMS = "/api/inventory/items"
HEALTH = "/api/inventory/health"


def refused(answer: httpx.Response, status: int, error: str) -> dict[str, Any]:
    """Check that the answer is this error in the one shape, and return its body."""
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    assert body["error"] == error, body
    assert isinstance(body["message"], str)
    assert body["message"]
    assert "Traceback" not in answer.text
    return body


def fields_of(answer: httpx.Response) -> list[str]:
    """Check that the answer is the 422 and return the fields it names."""
    fields = refused(answer, 422, "invalid_request")["fields"]
    assert all(problem["message"] for problem in fields)
    return [problem["field"] for problem in fields]


def client(url: str, token: str | None = ADMIN_TOKEN) -> httpx.AsyncClient:
    """Return a client with a token, or without any."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=120)


@asynccontextmanager
async def neighbour(
    stack: Stack, registry: CollectorRegistry | None = None, **changes: str
) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the same database and workflows by another API, with other environment variables."""
    database = stack.settings.database_url.get_secret_value()
    settings = Settings.read(environment(database, **(PATIENT | changes)))
    app = create_app(settings, task_queue=stack.task_queue, registry=registry or CollectorRegistry())
    async with serving(app, http=PROTOCOL) as url, client(url) as http:
        yield http


@asynccontextmanager
async def locked(stack: Stack, sku: str = "TEE") -> AsyncIterator[None]:
    """Lock the item's row from another connection."""
    url = stack.settings.database_url.get_secret_value()
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute('SELECT FROM "InventoryItem" WHERE sku = %s FOR UPDATE', [sku])
        yield


async def short_lived(stack: Stack, hold_id: str, seconds: int, quantity: int = 1) -> None:
    """Make a hold of TEE that lives shorter than the API allows; with 0 seconds it expires at once."""
    calls = WorkflowClient(stack.temporal, stack.task_queue)
    lines = (Line("TEE", "", quantity),)
    asked = request_hash("holds", SHOP, lines, None, None)
    hold = HoldInput(SHOP, hold_id, lines, seconds, 3600, 30_000, request_hash=asked)
    assert isinstance(await calls.reserve(hold), Held)


def fresh(prefix: str = "k") -> str:
    """Return a key or hold id of this test only: the tests share a Temporal server, and so the workflow ids."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


async def insist(
    ask: Callable[[], Awaitable[httpx.Response]], again: Collection[int] = frozenset({429, 503, 504})
) -> httpx.Response:
    """Ask as docs/errors.md says: again after `retryAfter` as long as the answer has one of these statuses."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while True:
        answer = await ask()
        if answer.status_code not in again:
            return answer
        assert time.monotonic() < deadline, f"no other answer within {LIMIT_SECONDS:.0f} s than {answer.text}"
        await asyncio.sleep(answer.json()["retryAfter"] / 1000)


async def expired(stack: Stack, hold_id: str) -> dict[str, Any]:
    """Return the hold of TEE once it has expired."""
    await short_lived(stack, hold_id, 0)
    await stack.run_of(hold_id).result()
    return await stack.read(hold_id)
