"""Request Cancellation in Temporal ends no workflow: its duty would be lost."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from temporalio import workflow

Answer = TypeVar("Answer")


CALLER_GONE = "caller_gone"
"""The reason of a cancel for a caller who got no answer and cannot ask again."""


async def run_despite_cancellation(work: Coroutine[Any, Any, Answer], on_request: Callable[[], None]) -> Answer:
    """Do the whole work of a run. A requested cancellation only calls `on_request`."""
    task = asyncio.create_task(work)
    while True:
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if workflow.cancellation_reason() is None or task.done():
                raise  # not requested: the worker evicts this run from its cache
            on_request()
