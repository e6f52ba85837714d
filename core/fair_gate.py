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

    def __init__(self, limit: AdaptiveLimit, *, for_calm_shops: float = 0.0, first: "FairGate | None" = None) -> None:
        """Make the gate.

        So much room beyond the limit, `for_calm_shops` as a share of it, is for shops that have no call inside. Each
        call inside `first`, of more important ones, takes the room of one here.
        """
        self.limit = limit
        self._for_calm_shops = for_calm_shops
        self._first = first
        self.others: list[FairGate] = []
        """Those for which this one is the first."""
        if first is not None:
            first.others.append(self)
        self.inside = 0
        self.waiting = 0
        self._inside_by_shop: Counter[str] = Counter()
        self._lines: OrderedDict[str, deque[Ticket]] = OrderedDict()
        """Only shops with a waiting call. The first is the one that was let in longest ago."""
        self.pace: float | None = None
        """The mean seconds from one turn to the next while the gate is full: the next call is let in, or could be."""
        self._full_since: float | None = None
        """Since when the gate is full, or the last turn while it was."""

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
        self.inside -= 1
        self._inside_by_shop[ticket.shop] -= 1
        if not self._inside_by_shop[ticket.shop]:
            del self._inside_by_shop[ticket.shop]
        if not self.waiting:
            self._count_turn(now)
        self.let_in_waiting(now)
        for gate in self.others:
            gate.let_in_waiting(now)

    def let_in_waiting(self, now: float) -> None:
        """Let in those who wait, as far as there is room."""
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
            self._count_turn(now)
            if ticket.wake is not None:
                ticket.wake()

    def give_up(self, ticket: Ticket) -> None:
        """Take a call that waits out of its line."""
        line = self._lines[ticket.shop]
        line.remove(ticket)
        self.waiting -= 1
        if not line:
            del self._lines[ticket.shop]

    @property
    def is_full(self) -> bool:
        """Whether the room is used up."""
        return self.inside >= self._room

    @property
    def _room(self) -> int:
        """How many calls may be inside: one at least, however many more important ones there are."""
        taken = 0 if self._first is None else self._first.inside
        return max(1, self.limit.value - taken)

    def _has_room(self, shop: str) -> bool:
        """Return whether a call of the shop may enter. One that has none inside does not wait for a rushing one's."""
        room = self._room
        return self.inside < (room if self._inside_by_shop[shop] else room + ceil(room * self._for_calm_shops))

    def _let_in(self, ticket: Ticket, now: float) -> None:
        ticket.entered = now
        self.inside += 1
        self._inside_by_shop[ticket.shop] += 1
        if self.is_full and self._full_since is None:
            self._full_since = now

    def _count_turn(self, now: float) -> None:
        """Count the time since the last turn, unless there was room meanwhile."""
        if self._full_since is not None:
            gap = now - self._full_since
            self.pace = gap if self.pace is None else self.pace + (gap - self.pace) * _PACE_WEIGHT
        self._full_since = now if self.is_full else None

    def _wait_of_next(self, shop: str, now: float) -> float:
        """Return after how many seconds a further call of the shop would be let in, at the present pace."""
        place = len(self._lines.get(shop, ())) + 1
        before = sum(min(len(line), place) for other, line in self._lines.items() if other != shop) + place
        pace = self.pace or 0.0
        since = 0.0 if self._full_since is None else now - self._full_since
        # A standstill lasts as long again as it has lasted, as far as anybody knows.
        return before * pace + (since if since > _STALLED * pace else 0.0)
