"""Spreads the ends of holds that are due together, so that what else a worker does need not wait for all of them.

Temporal fires all timers of a second at once, and hands out the ends before a commit that comes after them. So a hold's
end gets its second when the hold is made: the one of its deadline, unless that has as many ends already as a process
does in a second. The deadline stays as it was told; the stock comes back some seconds later.
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
        """Return when a hold with this deadline is to end: then, or in the first later second that has room."""
        due = int(deadline.timestamp())
        second = next((s for s in range(due, due + LATEST_SECONDS) if self._ends[s] < ENDS_PER_SECOND), due)
        self._ends[second] += 1
        if len(self._ends) > _SECONDS_KEPT:
            now = int(time.time())
            self._ends = Counter({at: ends for at, ends in self._ends.items() if at >= now})
        return deadline if second == due else datetime.fromtimestamp(second, UTC)
