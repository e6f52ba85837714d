"""Waiting with a condition that ends the wait."""

import asyncio
import math
import time
from collections.abc import Callable

_POLL_SECONDS = 0.02


async def wait(seconds: float = math.inf, *, unless: Callable[[], bool]) -> None:
    """Wait at most the seconds, or until `unless` is true, which is checked every 20 ms."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and not unless():  # noqa: ASYNC110 - many rules end a wait, none is a lock
        await asyncio.sleep(min(_POLL_SECONDS, left))
