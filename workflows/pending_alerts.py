"""What one channel still has to report of a shop's low items, and when. Pure: the workflow passes the time."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

QUIET_PERIOD = timedelta(hours=24)
"""After an item was reported, it is not reported again for so long."""
MAX_LISTED = 200
"""Items that one digest lists; the others are counted. Three channels of them fit into a continued run's input."""
_REMEMBERED = 2000
"""Reported items that are remembered. Beyond that the earliest is forgotten and may be reported again in its day."""


@dataclass(frozen=True)
class ItemFall:
    """An item's quantity fell to its threshold or below."""

    sku: str
    variant_key: str
    event_id: str
    at: datetime


@dataclass(frozen=True)
class WaitingFall:
    """A fall that is not reported yet."""

    fall: ItemFall
    received_at: datetime


@dataclass(frozen=True)
class ReportedFall:
    """The last fall of an item that was reported."""

    fell_at: datetime
    quiet_until: datetime


@dataclass
class PendingAlerts:
    """Falls that wait, and the items that are in their quiet period, both by `item_key`."""

    waiting: dict[str, WaitingFall] = field(default_factory=dict)
    reported: dict[str, ReportedFall] = field(default_factory=dict)
    unlisted: int = 0
    """Falls beyond MAX_LISTED."""
    not_before: datetime | None = None
    """One window after the last digest."""

    def add(self, fall: ItemFall, now: datetime, window: timedelta) -> None:
        """Record a fall. It replaces an earlier one of the item; a repeat of one that was reported is ignored."""
        key = item_key(fall.sku, fall.variant_key)
        reported = self.reported.get(key)
        if reported is not None and fall.at <= reported.fell_at:
            return
        earlier = self.waiting.get(key)
        self.waiting[key] = WaitingFall(fall, now if earlier is None else earlier.received_at)
        if len(self.waiting) > MAX_LISTED:
            del self.waiting[max(self.waiting, key=lambda waiting: self._due(waiting, window))]
            self.unlisted += 1

    def due(self, window: timedelta) -> datetime | None:
        """Return when the next digest is due, or None if nothing waits."""
        if not self.waiting:
            return None
        first = min(self._due(key, window) for key in self.waiting)
        return first if self.not_before is None else max(first, self.not_before)

    def take(self, now: datetime) -> tuple[list[ItemFall], int]:
        """Return the falls to report now, without those of items in their quiet period, and the number of unlisted."""
        falls = [waiting.fall for key, waiting in self.waiting.items() if self._quiet_until(key, now) <= now]
        for fall in falls:
            key = item_key(fall.sku, fall.variant_key)
            del self.waiting[key]
            self.reported.pop(key, None)  # so that the latest are the last
            self.reported[key] = ReportedFall(fall.at, now + QUIET_PERIOD)
        for key in list(self.reported)[:-_REMEMBERED]:
            del self.reported[key]
        unlisted, self.unlisted = self.unlisted, 0
        return falls, unlisted

    def finish(self, falls: Iterable[ItemFall], low: set[str], now: datetime, window: timedelta) -> None:
        """Begin the quiet period of the taken falls whose items were `low`; the others were not reported."""
        for fall in falls:
            key = item_key(fall.sku, fall.variant_key)
            if key in low:
                self.reported[key] = ReportedFall(fall.at, now + QUIET_PERIOD)
            else:
                self.reported.pop(key, None)
        if low:
            self.not_before = now + window

    def quiet_until(self) -> datetime | None:
        """Return the end of the last quiet period, or None if there is none."""
        return max((reported.quiet_until for reported in self.reported.values()), default=None)

    def forget(self, now: datetime) -> None:
        """Forget the items whose quiet period is over."""
        self.reported = {key: reported for key, reported in self.reported.items() if reported.quiet_until > now}

    def _due(self, key: str, window: timedelta) -> datetime:
        end_of_window = self.waiting[key].received_at + window
        return max(end_of_window, self._quiet_until(key, end_of_window))

    def _quiet_until(self, key: str, default: datetime) -> datetime:
        reported = self.reported.get(key)
        return default if reported is None else reported.quiet_until


def item_key(sku: str, variant_key: str) -> str:
    """Return a short key that no two items of a shop share. A sku has no line break."""
    return hashlib.sha256(f"{sku}\n{variant_key}".encode()).hexdigest()[:24]
