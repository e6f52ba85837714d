"""The simulator as an ASGI application."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from dev.simulator import actions
from dev.simulator.account import Account
from dev.simulator.api import api_routes
from dev.simulator.config import Config
from dev.simulator.control import control_routes
from dev.simulator.embedded import embedded_routes
from dev.simulator.pages import page_routes

_BEAT = 0.2
"""Seconds between checks of due objects and of unsaved changes: a kill loses about this much."""
_SHARE_OF_WRITING = 10
"""A large state is written less often: for each second of writing, this many of serving."""


class StateError(Exception):
    """The state file was not written by this version of the simulator. The message is one line."""


def create_app(config: Config | None = None) -> Starlette:
    """Create a simulator. `app.state.account` is its state, for tests in the same process."""
    account = Account(config or Config())

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        path = account.config.state_file
        if path is not None:
            load(account, path)
        beat = asyncio.create_task(_beat(account))
        try:
            yield
        finally:
            beat.cancel()
            with suppress(asyncio.CancelledError):
                await beat
            if path is not None:
                save(account, path)
            await account.webhooks.close()

    routes = [*api_routes(account), *control_routes(account), *page_routes(account), *embedded_routes(account)]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={ClientDisconnect: _client_gone})
    app.state.account = account
    return app


async def _client_gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)  # nobody receives it


async def _beat(account: Account) -> None:
    written, next_write = account.changes, 0.0
    while True:
        await asyncio.sleep(_BEAT)
        actions.tick(account)
        began = time.monotonic()
        if account.config.state_file is not None and account.changes != written and began >= next_write:
            written = account.changes
            save(account, account.config.state_file)
            now = time.monotonic()
            next_write = now + _SHARE_OF_WRITING * (now - began)


def load(account: Account, path: Path) -> None:
    """Restore the state of the file, if there is one. Raises StateError."""
    if not path.exists():
        return
    try:
        account.load(json.loads(path.read_text()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise StateError(f"{path} is not the state of a simulator ({error!r}); move it away") from error


def save(account: Account, path: Path) -> None:
    """Write the state atomically."""
    new = path.with_suffix(".new")
    with new.open("w") as file:
        json.dump(account.dump(), file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
