"""The worker of an API process: it runs the holds that the process starts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import structlog
from temporalio.service import RPCError

from activities.stock import StockActivities
from core.error_messages import first_line
from core.settings import Settings
from core.temporal import connect
from holds.runs_here import RunsHere
from worker import make_worker

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

_RETRY_SECONDS = 2.0
_CACHED_HOLDS = 2_000
"""About 170 MiB. The oldest hold beyond is replayed from its history for its next task."""


@asynccontextmanager
async def hold_worker(
    settings: Settings,
    stock: StockActivities,
    runs: RunsHere,
    *,
    task_queue: str,
    tracer_provider: "TracerProvider | None",
) -> AsyncIterator[None]:
    """Run the worker while the block runs, from when Temporal can be reached. Until then other workers run all holds.

    At the end it finishes the tasks that it has begun.
    """
    told: str | None = None

    async def run() -> None:
        nonlocal told
        # A connection of its own: the SDK gives no worker to a client that connects at its first call.
        client = await connect(settings.temporal_api_key, tracer_provider=tracer_provider)
        async with make_worker(
            client,
            stock,
            task_queue=task_queue,
            cached_workflows=_CACHED_HOLDS,
            deployment=settings.worker_deployment,
        ):
            told = None
            with runs.on(client):
                await asyncio.Event().wait()

    stopped = asyncio.Event()

    async def keep_running() -> None:
        nonlocal told
        while not stopped.is_set():
            try:
                await run()
            except (RuntimeError, RPCError) as error:
                if told != (problem := first_line(error)):  # one line for each outage
                    structlog.get_logger("api").warning("no holds run in this process; retrying", problem=problem)
                told = problem
            with suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), _RETRY_SECONDS)

    task = asyncio.create_task(keep_running())
    try:
        yield
    finally:
        stopped.set()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
