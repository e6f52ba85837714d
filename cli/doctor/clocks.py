"""The difference between a server's clock and this machine's, and the largest one that is accepted."""

from dataclasses import dataclass

from cli.doctor.results import CheckResult, fault, ok

TOLERANCE_SECONDS = 1.0
"""A hold takes no stock later than INVENTORY_REQUEST_TIMEOUT_MS after its request, measured by two servers' clocks: a
difference near that limit refuses holds, or creates them after the caller has given up."""


@dataclass(frozen=True, slots=True)
class ClockReading:
    """A server's time, and this machine's time before and after reading it, in seconds since 1970."""

    before: float
    server: float
    after: float

    @property
    def skew(self) -> float:
        """By how many seconds the server is ahead at least; negative if it is behind; 0 if the clocks may agree."""
        if self.server > self.after:
            return self.server - self.after
        return min(self.server - self.before, 0.0)


def check_clock(area: str, server: str, reading: ClockReading) -> CheckResult:
    """Compare the server's clock with this machine's."""
    if abs(reading.skew) <= TOLERANCE_SECONDS:
        milliseconds = (reading.after - reading.before) * 1000
        return ok(area, "clock", f"agrees with this machine's clock (round trip {milliseconds:.0f} ms)")
    direction = "ahead of" if reading.skew > 0 else "behind"
    found = f"{server}'s clock is {abs(reading.skew):.1f} s {direction} this machine's"
    fix = "synchronise both by NTP (chronyc tracking, timedatectl); the other server's result shows which is wrong"
    return fault(area, "clock", found, fix)
