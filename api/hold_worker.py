"""The worker of an API process: it runs the holds that the process starts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from temporalio.service import RPCError

from activities.stock import StockActivities
from core.outage_log import OutageLog
from core.settings import Settings
from core.temporal import connect
from holds.runs_here import RunsHere
from worker import API_NONSTICKY_POLL_RATIO, API_POLLERS, make_worker

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

_RETRY_SECONDS = 2.0


@asynccontextmanager
async def hold_worker(
    settings: Settings,
    stock: StockActivities,
    runs: RunsHere,
    *,
    task_queue: str,
    cached_holds: int,
    tracer_provider: "TracerProvider | None",
) -> AsyncIterator[None]:
    """Run the worker while the block runs, from when Temporal can be reached. Until then other workers run all holds.

    At the end it finishes the tasks that it has begun.
    """
    outage = OutageLog("api", fails="no holds run in this process; retrying", works="holds run in this process")

    async def run() -> None:
        # A connection of its own: the SDK gives no worker to a client that connects at its first call.
        client = await connect(settings.temporal_api_key, tracer_provider=tracer_provider)
        async with make_worker(
            client,
            stock,
            task_queue=task_queue,
            cached_workflows=cached_holds,
            pollers=API_POLLERS,
            nonsticky_poll_ratio=API_NONSTICKY_POLL_RATIO,
            deployment=settings.worker_deployment,
        ):
            with runs.on(client):
                outage.worked()
                await asyncio.Event().wait()

    stopped = asyncio.Event()

    async def keep_running() -> None:
        while not stopped.is_set():
            try:
                await run()
            except (RuntimeError, RPCError) as error:
                outage.failed(error)
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
