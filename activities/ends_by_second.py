"""Spreads the ends of holds that are due together, so that what else a worker does need not wait for all of them.

Temporal fires timers of one time at once, stores the tasks for which no worker is free, and hands them out before a
commit that comes after them. So a hold's end gets its time when the hold is made: the deadline, unless its second has
ends already. Those follow one another at the rate at which a process can end holds, into later seconds if there are
more. The deadline stays as it was told; the stock comes back up to a second later, or some seconds if many are due.
"""

import time
from collections import Counter
from datetime import UTC, datetime

ENDS_PER_SECOND = 70
"""How many ends a process is given in a second: what two cores do at rest, and more than checkouts make in one."""
LATEST_SECONDS = 200
"""An end is moved at most this far; beyond, holds end together again."""
_SECONDS_KEPT = 100_000


class EndsBySecond:
    """How many holds of this process end in which second. It knows no hold that was made by another process."""

    def __init__(self) -> None:
        self._ends: Counter[int] = Counter()

    def place(self, deadline: datetime) -> datetime:
        """Return when a hold with this deadline is to end: then, or at the next time that has room."""
        due = int(deadline.timestamp())
        second = next((s for s in range(due, due + LATEST_SECONDS) if self._ends[s] < ENDS_PER_SECOND), None)
        if second is None:
            return deadline
        place = second + self._ends[second] / ENDS_PER_SECOND
        self._ends[second] += 1
        if len(self._ends) > _SECONDS_KEPT:
            now = int(time.time())
            self._ends = Counter({at: ends for at, ends in self._ends.items() if at >= now})
        return max(deadline, datetime.fromtimestamp(place, UTC))
