"""Both clients behind one interface: tests await the calls, and those of the sync client run in a thread."""

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
from tests.client.faulty_server import FaultyServer, faulty_server
from tests.paying import Shop, running_shop
from tests.servers import database_on
from tests.stack import AUTHORITY_TOKEN

Connect = Callable[..., AbstractAsyncContextManager[AsyncInventoryAuthorityClient]]


class _Threaded:
    def __init__(self, client: InventoryAuthorityClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return functools.partial(asyncio.to_thread, getattr(self._client, name))


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Makes a client, sync or async: `async with connect(url) as client`."""

    @asynccontextmanager
    async def connected(
        url: str, token: str = AUTHORITY_TOKEN, seconds: float = 60
    ) -> AsyncIterator[AsyncInventoryAuthorityClient]:
        if request.param == "async":
            async with AsyncInventoryAuthorityClient(url, token, seconds) as client:
                yield client
        else:
            with InventoryAuthorityClient(url, token, seconds) as blocking:
                yield cast("AsyncInventoryAuthorityClient", _Threaded(blocking))

    return connected


@pytest.fixture(autouse=True)
def _without_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("INVENTORY_", "SKIP_INVENTORY")):
            monkeypatch.delenv(name)


@pytest.fixture
async def server() -> AsyncIterator[FaultyServer]:
    """A server that answers as the test says."""
    async with faulty_server() as faulty:
        yield faulty


@pytest.fixture
async def client(connect: Connect, server: FaultyServer) -> AsyncIterator[AsyncInventoryAuthorityClient]:
    """A client of the faulty server."""
    async with connect(server.url) as client:
        yield client


@pytest.fixture(scope="module")
async def sandbox(postgres: EmbeddedPostgres, migrated_template: str, temporal: Client) -> AsyncIterator[Shop]:
    """One running Holdfast for a module."""
    with database_on(postgres, migrated_template) as database:
        async with running_shop(database, temporal) as running:
            yield running


@pytest.fixture
async def corner(sandbox: Shop) -> Shop:
    """The running Holdfast with ten of an item that no other test uses."""
    return await sandbox.corner()


@pytest.fixture
async def holdfast(connect: Connect, corner: Shop) -> AsyncIterator[AsyncInventoryAuthorityClient]:
    """A client of the running Holdfast."""
    async with connect(corner.stack.url) as client:
        yield client
