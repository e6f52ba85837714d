"""Waiting for what tests and clients bring about."""

import asyncio
import math
import time
from collections.abc import Callable

_LOOK_AGAIN = 0.02


async def wait(seconds: float = math.inf, *, unless: Callable[[], bool]) -> None:
    """Wait, but no longer than until `unless` is true; that is looked at every 20 ms."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and not unless():  # noqa: ASYNC110 - many rules end a wait, none is a lock
        await asyncio.sleep(min(_LOOK_AGAIN, left))
