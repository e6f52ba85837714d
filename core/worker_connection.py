"""A worker's connection to Temporal: made when it can be, and whether Temporal has the worker's polls."""

import asyncio
from contextlib import suppress

from temporalio.client import Client
from temporalio.service import RPCError

from core.polling import OwnPolls, last_polls
from core.release import commit, release
from core.settings import TASK_QUEUE, Settings
from core.temporal import connect, runtime_with_metrics
from core.tracing import ProcessTracing
from core.worker_readiness import OwnPolling, Polling, polling_after

_STARTING_SECONDS = 0.1
_POLLING_SECONDS = 5.0
"""How often a worker that polls asks Temporal whether it has its polls; one that starts asks after the first, then ever
more seldom."""


async def connect_with_retries(
    settings: Settings, stop: asyncio.Event, sdk_metrics_port: int, tracing: ProcessTracing, own: OwnPolling
) -> tuple[Client, list[int]] | None:
    """Connect to Temporal and its namespace, retrying every 2 s; None if `stop` is set first.

    Also returns the `last_polls` before this worker's own.
    """
    runtime = runtime_with_metrics(sdk_metrics_port)
    while not stop.is_set():
        try:
            client = await connect(settings.temporal_api_key, runtime=runtime, tracer_provider=tracing.provider)
            return client, await last_polls(client, TASK_QUEUE)
        except (RuntimeError, RPCError) as error:
            own.failed(error)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), timeout=2)
    return None


async def watch_polls(client: Client, earlier: list[int], own: OwnPolling, *, cached_holds: int) -> None:
    """Keep `own` up to date until it is cancelled. `earlier` are the `last_polls` before the worker's own."""
    polls = OwnPolls(client, TASK_QUEUE, earlier)
    polled = in_doubt = False
    pause = _STARTING_SECONDS
    while True:
        try:
            if await polls.are_recent():
                polled, in_doubt = True, False
                own.is_now(
                    Polling.POLLS,
                    task_queue=TASK_QUEUE,
                    namespace=client.namespace,
                    version=release(),
                    commit=commit(),
                    cached_holds=cached_holds,
                )
            elif polled:
                own.is_now(Polling.SILENT)
        except RPCError as error:  # the worker itself repeats its polls
            late = polling_after(error) is Polling.UNREACHABLE and polled and not in_doubt
            in_doubt = late  # on a busy machine one answer is late: the second in a row is an outage
            if not late:
                own.failed(error)
        pause = _POLLING_SECONDS if polled else min(pause * 1.2, _POLLING_SECONDS)
        await asyncio.sleep(pause)
