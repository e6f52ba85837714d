"""Rests between the steps of long work in the background."""

import asyncio

_TIMES = 9
_LONGEST_SECONDS = 5.0
"""An audit heartbeats after each step, every 30 s at least."""
_SECONDS = 60.0
"""The rests of one piece of work. An audit has four minutes, and rests in three of its reads."""


class Rests:
    """The rests of one piece of work: after each step nine times as long as it took; in all a minute at most.

    What callers wait for is done meanwhile: they wait for one step at most, and not for step after step.
    """

    def __init__(self) -> None:
        self._left = _SECONDS

    async def after(self, seconds: float) -> None:
        """Rest after a step that took so long."""
        rest = min(seconds * _TIMES, _LONGEST_SECONDS, self._left)
        self._left -= rest
        await asyncio.sleep(rest)
