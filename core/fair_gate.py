"""A gate that lets in as many calls as its limit allows; the others wait, in a line for each shop, or are refused.

It knows neither clock nor event loop: whoever calls it tells the time.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from core.adaptive_limit import AdaptiveLimit

MOST_WAITING = 2000
"""Of a gate: they cost memory. Only before the first calls have ended can as many come this far."""
_PACE_WEIGHT = 1 / 16
_LONG = 2
"""A line is long once its first call has waited for so many times its patience."""
_FOR_CALM_SHOPS = 0.5
"""So much room beyond the limit, as a share of it, is for shops that have no call inside."""
_STALLED = 4
"""The gate is at a standstill once no call has ended for so many times the pace."""


class GateClosedError(Exception):
    """The call would not be let in in time."""


@dataclass(eq=False)
class Ticket:
    """A call at the gate."""

    shop: str
    arrived: float
    patience: float
    """For how many seconds it may wait by the estimate at its arrival."""
    wake: Callable[[], None] | None = None
    """Called once it is let in, if it had to wait."""
    entered: float | None = None


class FairGate:
    """Lets calls in, by shop in turns.

    The next one to be let in is of the waiting shop with the fewest calls inside, so a shop that rushes gets what the
    others leave. A call is refused at once if, at the pace of the calls that end, its turn would come too late.
    """

    def __init__(self, limit: AdaptiveLimit) -> None:
        self.limit = limit
        self.inside = 0
        self.waiting = 0
        self._inside_by_shop: Counter[str] = Counter()
        self._lines: OrderedDict[str, deque[Ticket]] = OrderedDict()
        """Only shops with a waiting call. The first is the one that was let in longest ago."""
        self.pace: float | None = None
        """The mean seconds between two calls that end while the gate is full."""
        self._full_since: float | None = None
        """Since when the gate is full, or a call ended last while it was."""

    def arrive(self, shop: str, patience: float, now: float) -> Ticket:
        """Return a ticket, let in or waiting. Raises GateClosedError."""
        ticket = Ticket(shop, now, patience)
        if self._has_room(shop) and (not self.waiting or not self._inside_by_shop[shop]):
            self._let_in(ticket, now)
            return ticket
        if self.waiting >= MOST_WAITING or self._wait_of_next(shop, now) > patience:
            raise GateClosedError
        self._lines.setdefault(shop, deque()).append(ticket)
        self.waiting += 1
        return ticket

    def leave(self, ticket: Ticket, now: float) -> None:
        """End a call that was let in, and let in the next ones."""
        if self._full_since is not None:
            gap = now - self._full_since
            self.pace = gap if self.pace is None else self.pace + (gap - self.pace) * _PACE_WEIGHT
        self.inside -= 1
        self._inside_by_shop[ticket.shop] -= 1
        if not self._inside_by_shop[ticket.shop]:
            del self._inside_by_shop[ticket.shop]
        self._full_since = None
        self._let_in_waiting(now)
        if self._full_since is None and self.inside >= self.limit.value:  # the limit has shrunk
            self._full_since = now

    def give_up(self, ticket: Ticket) -> None:
        """Take a call that waits out of its line."""
        line = self._lines[ticket.shop]
        line.remove(ticket)
        self.waiting -= 1
        if not line:
            del self._lines[ticket.shop]

    @property
    def is_full(self) -> bool:
        """Whether the limit is used up."""
        return self.inside >= self.limit.value

    def _let_in_waiting(self, now: float) -> None:
        while self.waiting:
            shop = min(self._lines, key=lambda each: self._inside_by_shop[each])
            if not self._has_room(shop):
                return
            line = self._lines[shop]
            # In a long line all would be answered late, if in turn: the youngest is not late yet.
            is_long = now - line[0].arrived > _LONG * line[0].patience
            ticket = line.pop() if is_long else line.popleft()
            self.waiting -= 1
            if line:
                self._lines.move_to_end(shop)
            else:
                del self._lines[shop]
            self._let_in(ticket, now)
            if ticket.wake is not None:
                ticket.wake()

    def _has_room(self, shop: str) -> bool:
        """Return whether a call of the shop may enter. One that has none inside does not wait for a rushing one's."""
        limit = self.limit.value
        return self.inside < (limit if self._inside_by_shop[shop] else limit + ceil(limit * _FOR_CALM_SHOPS))

    def _let_in(self, ticket: Ticket, now: float) -> None:
        ticket.entered = now
        self.inside += 1
        self._inside_by_shop[ticket.shop] += 1
        if self.inside >= self.limit.value:
            self._full_since = now

    def _wait_of_next(self, shop: str, now: float) -> float:
        """Return after how many seconds a further call of the shop would be let in, at the present pace."""
        place = len(self._lines.get(shop, ())) + 1
        before = sum(min(len(line), place) for other, line in self._lines.items() if other != shop) + place
        pace = self.pace or 0.0
        since = 0.0 if self._full_since is None else now - self._full_since
        # A standstill lasts as long again as it has lasted, as far as anybody knows.
        return before * pace + (since if since > _STALLED * pace else 0.0)
