"""How many calls may be in flight: found from their own times, by the rule of TCP Vegas."""

from collections import defaultdict

_OF_ONE_SHOP, _OF_SEVERAL = (2.0, 5.0), (0.5, 1.5)
"""Of the calls in flight, how many may wait inside the service: below the first number the limit grows, above the
second it shrinks. Fewer while several shops are served, since a call waits for all those that are inside."""
_SEVERAL_SECONDS = 60.0
"""For so long after the calls of two shops were answered one after the other, several shops are served."""
_FAR_TOO_MANY = 4.0
"""So many times the second number: the limit shrinks by a share of itself, not by one."""
_SHRINK = 0.8
_SAMPLES = 8
"""The least number of calls whose mean time decides: single ones vary."""
_IDLE_KEPT_SECONDS = 300.0
"""The idle time is the shortest of the last five to ten minutes, since a service can become slower for good."""


class AdaptiveLimit:
    """The limit of one gate.

    A call that takes longer than on an idle service waits for the rest of its time. So the limit, times the share of
    that rest, is how many of the calls in flight wait. It keeps a few waiting: enough to keep the service busy, and few
    enough for the next one to be served soon. While several shops are served it keeps fewer, which costs a rushing shop
    some 15 % of its rate. Only the times of calls that did the work may be counted.
    """

    def __init__(self, *, first: int, least: int, most: int) -> None:
        self._limit = float(first)
        self._least = least
        self._most = most
        self._idle: dict[str, _Shortest] = defaultdict(_Shortest)
        self._shares: list[float] = []
        self._full = False
        self._shop: str | None = None
        self._shop_changed = float("-inf")

    @property
    def value(self) -> int:
        """How many calls may be in flight now."""
        return int(self._limit)

    def answered(self, kind: str, seconds: float, *, shop: str, full: bool, now: float) -> None:
        """Count the time of a shop's call. `kind` calls take the same time when idle. `full`: the limit was used up."""
        if shop != self._shop:
            if self._shop is not None:
                self._shop_changed = now
            self._shop = shop
        idle = self._idle[kind].update(seconds, now)
        self._shares.append(1.0 - idle / seconds if seconds > 0 else 0.0)
        self._full |= full
        if len(self._shares) < max(_SAMPLES, self.value):
            return
        waiting = self._limit * sum(self._shares) / len(self._shares)
        several = now - self._shop_changed < _SEVERAL_SECONDS
        few, many = _OF_SEVERAL if several else _OF_ONE_SHOP
        if waiting > many * _FAR_TOO_MANY:
            self._set(self._limit * _SHRINK)
        elif waiting > many:
            self._set(self._limit - 1)
        elif waiting < few and self._full:  # a limit that is not used up tells nothing about a higher one
            self._set(self._limit + max(1.0, self._limit / 8))
        self._start_window()

    def timed_out(self) -> None:
        """Count a call that got no answer in time."""
        self._set(self._limit * _SHRINK)
        self._start_window()

    def _set(self, limit: float) -> None:
        self._limit = min(max(limit, self._least), self._most)

    def _start_window(self) -> None:
        self._shares = []
        self._full = False


class _Shortest:
    """The shortest time of the last five to ten minutes."""

    def __init__(self) -> None:
        self._earlier = self._current = float("inf")
        self._began = float("-inf")

    def update(self, seconds: float, now: float) -> float:
        if now - self._began > _IDLE_KEPT_SECONDS:
            self._earlier, self._current, self._began = self._current, seconds, now
        self._current = min(self._current, seconds)
        return min(self._earlier, self._current)
