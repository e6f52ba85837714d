"""Rests between the steps of long work in the background."""

import asyncio

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

    async def after(self, seconds: float) -> None:
        """Rest after a step that took so long."""
        rest = min(seconds * _TIMES, _LONGEST_SECONDS, self._left)
        self._left -= rest
        await asyncio.sleep(rest)


NO_RESTS = Rests(0.0)
"""For work that a person waits for."""
