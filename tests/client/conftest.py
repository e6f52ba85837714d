"""Both clients, as one: a test awaits what it asks, of the sync client in a thread."""

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

import pytest
from temporalio.client import Client

from dev.postgres import EmbeddedPostgres
from holdfast_client import AsyncInventoryAuthorityClient, InventoryAuthorityClient
from tests.client.faulty_server import Liar, lying
from tests.e2e.deployment import database_on
from tests.paying import Shop, running_shop
from tests.stack import AUTHORITY_TOKEN

Connect = Callable[..., AbstractAsyncContextManager[AsyncInventoryAuthorityClient]]


class _Threaded:
    def __init__(self, client: InventoryAuthorityClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return functools.partial(asyncio.to_thread, getattr(self._client, name))


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """How to make a client of either kind: `async with connect(url) as client`."""

    @asynccontextmanager
    async def connected(
        url: str, token: str = AUTHORITY_TOKEN, seconds: float | None = None
    ) -> AsyncIterator[AsyncInventoryAuthorityClient]:
        if request.param == "async":
            async with AsyncInventoryAuthorityClient(url, token, seconds) as client:
                yield client
        else:
            with InventoryAuthorityClient(url, token, seconds) as blocking:
                yield cast("AsyncInventoryAuthorityClient", _Threaded(blocking))

    return connected


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("INVENTORY_", "SKIP_INVENTORY")):
            monkeypatch.delenv(name)


@pytest.fixture
async def liar() -> AsyncIterator[Liar]:
    """A server that answers as it is told to."""
    async with lying() as server:
        yield server


@pytest.fixture
async def client(connect: Connect, liar: Liar) -> AsyncIterator[AsyncInventoryAuthorityClient]:
    """A client of the liar, which gives up after two seconds."""
    async with connect(liar.url, seconds=2) as asking:
        yield asking


@pytest.fixture(scope="module")
async def sandbox(postgres: EmbeddedPostgres, migrated_template: str, temporal: Client) -> AsyncIterator[Shop]:
    """One shop for a whole module."""
    with database_on(postgres, migrated_template) as database:
        async with running_shop(database, temporal) as running:
            yield running


@pytest.fixture
async def corner(sandbox: Shop) -> Shop:
    """The same with ten of an item that no other test asks for."""
    return await sandbox.corner()


@pytest.fixture
async def holdfast(connect: Connect, corner: Shop) -> AsyncIterator[AsyncInventoryAuthorityClient]:
    """A client of the real product."""
    async with connect(corner.stack.url) as asking:
        yield asking
