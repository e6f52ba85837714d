"""Waiting for a condition: with a limit that no slow machine reaches, and a message that says what did not happen."""

import asyncio
import inspect
import time
from collections.abc import Callable

LIMIT_SECONDS = 120.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.25
"""Seconds between two looks. The pause grows by a quarter: what takes long is not asked for a hundred times."""


async def until(condition: Callable[[], object], what: str, seconds: float = LIMIT_SECONDS) -> None:
    """Wait until the condition, which may be a coroutine function, is true. Fails with `what` after the seconds."""
    deadline = time.monotonic() + seconds
    pause = _FIRST_PAUSE
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        await asyncio.sleep(pause)
        pause = min(pause * 1.25, _LONGEST_PAUSE)
