"""The simulator as an ASGI application."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from starlette.applications import Starlette

from dev.simulator import actions as shopper
from dev.simulator.account import World
from dev.simulator.api import api_routes
from dev.simulator.config import Config
from dev.simulator.control import control_routes
from dev.simulator.pages import page_routes

_BEAT = 0.2
"""Seconds between looks at the time and at what is to be written: a kill loses about this much."""
_SHARE_OF_WRITING = 10
"""A large state is written seldom: for each second of writing, this many of serving."""


class StateError(Exception):
    """The state file is none that a simulator of this version wrote. The message is one line."""


def create_app(config: Config | None = None) -> Starlette:
    """Make a simulator. `app.state.world` is its inside, for tests in the same process."""
    world = World(config or Config())

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        path = world.config.state_file
        if path is not None:
            load(world, path)
        beat = asyncio.create_task(_beat(world))
        try:
            yield
        finally:
            beat.cancel()
            with suppress(asyncio.CancelledError):
                await beat
            if path is not None:
                save(world, path)
            await world.webhooks.close()

    app = Starlette(routes=[*api_routes(world), *control_routes(world), *page_routes(world)], lifespan=lifespan)
    app.state.world = world
    return app


async def _beat(world: World) -> None:
    written, next_write = world.changes, 0.0
    while True:
        await asyncio.sleep(_BEAT)
        shopper.tick(world)
        began = time.monotonic()
        if world.config.state_file is not None and world.changes != written and began >= next_write:
            written = world.changes
            save(world, world.config.state_file)
            now = time.monotonic()
            next_write = now + _SHARE_OF_WRITING * (now - began)


def load(world: World, path: Path) -> None:
    """Take up the state in the file, if there is one. Raises StateError."""
    if not path.exists():
        return
    try:
        world.load(json.loads(path.read_text()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise StateError(f"{path} is not the state of a simulator ({error!r}); move it away") from error


def save(world: World, path: Path) -> None:
    """Write the state so that the file is always a whole one: the old or the new."""
    new = path.with_suffix(".new")
    with new.open("w") as file:
        json.dump(world.dump(), file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
