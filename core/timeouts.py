"""Time limits that hold even when the work does not react to its cancellation."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Answer = TypeVar("Answer")

_abandoned: set[asyncio.Task[Any]] = set()


async def run_with_timeout(seconds: float, work: Coroutine[Any, Any, Answer]) -> Answer:
    """Return the result of `work`. Raises TimeoutError after the seconds; the work is cancelled, not awaited.

    `asyncio.timeout` returns only once the work has reacted to its cancellation; a statement on a Postgres that has
    stopped without closing its connections takes ten seconds more for that.
    """
    task = asyncio.create_task(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        _abandon(task)
        raise
    if not done:
        _abandon(task)
        raise TimeoutError
    return task.result()


def _abandon(task: asyncio.Task[Any]) -> None:
    """Cancel the task without awaiting it; the event loop itself holds tasks by weak references only."""
    _abandoned.add(task)
    task.add_done_callback(_forget)
    task.cancel()


def _forget(task: asyncio.Task[Any]) -> None:
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()  # retrieved, so that asyncio does not log it: nobody waits for it any more
