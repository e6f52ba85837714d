"""Rests between the steps of long work in the background."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TypeVar

Step = TypeVar("Step")

_TIMES = 9
_LONGEST_SECONDS = 5.0
"""An audit heartbeats after each step, every 30 s at least."""
_SECONDS = 90.0
"""The rests of one piece of work. Each part of an audit has four minutes."""


class Rests:
    """The rests of one piece of work: after each step nine times as long as it took; in all 90 s at most.

    What callers wait for is done meanwhile: they wait for one step at most, and not for step after step.
    """

    def __init__(self, seconds: float = _SECONDS) -> None:
        self._left = seconds

    async def between(self, steps: AsyncIterator[Step]) -> AsyncIterator[Step]:
        """Yield the steps, with a rest after each. What the caller does with a step does not count as its time."""
        while True:
            began = time.monotonic()
            try:
                step = await anext(steps)
            except StopAsyncIteration:
                return
            rest = min((time.monotonic() - began) * _TIMES, _LONGEST_SECONDS, self._left)
            yield step
            self._left -= rest
            await asyncio.sleep(rest)


NO_RESTS = Rests(0.0)
"""For work that a person waits for."""
