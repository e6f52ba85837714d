"""How far two clocks are apart, and how far they may be."""

from dataclasses import dataclass

from cli.doctor.lines import Line, fault, ok

TOLERANCE_SECONDS = 1.0
"""A hold takes no stock later than INVENTORY_REQUEST_TIMEOUT_MS after it was asked for, by two servers' clocks: those
that differ by a good part of that refuse holds or make late ones."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a server's clock said, between two moments of this machine's, in seconds since 1970."""

    before: float
    server: float
    after: float

    @property
    def skew(self) -> float:
        """How far the server is ahead at least, in seconds; behind where negative; 0 where it may well be equal."""
        if self.server > self.after:
            return self.server - self.after
        return min(self.server - self.before, 0.0)


def clock_line(area: str, server: str, reading: Reading) -> Line:
    """Say how far the server's clock is from this machine's."""
    within = reading.after - reading.before
    if abs(reading.skew) <= TOLERANCE_SECONDS:
        return ok(area, "clock", f"agrees with this machine's (seen within {within * 1000:.0f} ms)")
    ahead = "ahead of" if reading.skew > 0 else "behind"
    found = f"{server}'s clock is {abs(reading.skew):.1f} s {ahead} this machine's"
    return fault(
        area, "clock", found, "set both by NTP (chronyc tracking, timedatectl); the other server's line tells which"
    )
