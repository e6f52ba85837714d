"""The whole product on servers of its own, each of which a test can take away and put back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cli.migrate import migrate
from dev.postgres import EmbeddedPostgres
from dev.processes import Child
from dev.temporal import EmbeddedTemporal
from tests.e2e.deployment import Deployment, deployed

UNSYNCED = {"fsync": "off"}
"""A Postgres that is killed keeps what it has acknowledged; only a crash of the machine would lose it."""


@dataclass
class House:
    """The whole product on a Postgres and a Temporal of its own, which keep what they know on disk."""

    postgres: EmbeddedPostgres
    temporal: EmbeddedTemporal
    deployment: Deployment
    worker: Child


@asynccontextmanager
async def house_in(folder: Path, *, processes: int = 1, **changes: str) -> AsyncIterator[House]:
    """Yield a house whose every part runs, its environment changed so, and stop whatever runs of it afterwards."""
    postgres = EmbeddedPostgres(folder / "postgres", settings=UNSYNCED)
    temporal = EmbeddedTemporal(folder / "temporal", ui=False)
    try:
        await asyncio.to_thread(postgres.start)
        migrate(postgres.url)
        await asyncio.to_thread(temporal.start)
        async with deployed(folder, postgres.url, temporal.address, **changes) as deployment:
            yield House(postgres, temporal, deployment, await deployment.start_worker(processes=processes))
    finally:
        temporal.stop(0)
        postgres.stop(0)
