"""No request waits longer than INVENTORY_REQUEST_TIMEOUT_MS, whatever it waits for."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from api.dependencies import Context
from api.errors import ApiError, Problem
from api.tracing import about
from core.database import DatabaseUnavailableError
from holds.workflow_client import HoldKey

Answer = TypeVar("Answer")

_abandoned: set[asyncio.Task[Any]] = set()


async def within(seconds: float, work: Coroutine[Any, Any, Answer]) -> Answer:
    """Return what `work` returns, or raise TimeoutError when the seconds have passed.

    `asyncio.timeout` returns only once the work has heeded its cancellation; a statement on a Postgres that has
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


async def bounded(context: Context, work: Coroutine[Any, Any, Answer], *, hold: HoldKey | None = None) -> Answer:
    """Return what `work` returns within the request's time-out.

    Raises ApiError 504 when it has passed, and 503 where Postgres or Temporal is out of reach, both with the id of the
    hold that is concerned: neither says what happened to it. The request's span names that hold.
    """
    named = {} if hold is None else {"holdId": hold.hold_id}
    if hold is not None:
        about(hold)
    try:
        return await within(context.settings.request_timeout_ms / 1000, work)
    except TimeoutError:
        raise ApiError(Problem.inventory_timeout, **named) from None
    except DatabaseUnavailableError as error:
        raise ApiError(Problem.inventory_unavailable, "Postgres is out of reach.", **named) from error
    except ApiError as error:
        if error.problem is Problem.inventory_unavailable:
            error.details |= named
        raise


def _abandon(task: asyncio.Task[Any]) -> None:
    """Cancel the task without waiting for it; the event loop itself holds tasks by weak references only."""
    _abandoned.add(task)
    task.add_done_callback(_forget)
    task.cancel()


def _forget(task: asyncio.Task[Any]) -> None:
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()  # looked at: nobody is told of it any more
