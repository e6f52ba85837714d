"""The difference between a server's clock and this machine's, and the largest one that is accepted."""

from collections.abc import Sequence
from dataclasses import dataclass

from cli.doctor.results import CheckResult, State, fault, not_applicable, ok

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


@dataclass(frozen=True, slots=True)
class ClockResult(CheckResult):
    """The result of a server's clock."""

    server: str = ""
    skew: float = 0.0
    """By how many seconds the server is ahead of this machine."""

    def as_json(self) -> dict[str, str | None]:
        """Return it for `--json`, as every result."""
        return CheckResult(self.area, self.name, self.state, self.found, self.fix).as_json()


def check_clock(area: str, server: str, reading: ClockReading) -> CheckResult:
    """Compare the server's clock with this machine's."""
    if abs(reading.skew) <= TOLERANCE_SECONDS:
        milliseconds = (reading.after - reading.before) * 1000
        return ok(area, "clock", f"agrees with this machine's clock (round trip {milliseconds:.0f} ms)")
    found = f"{server}'s clock is {_difference(reading.skew)} this machine's"
    fix = "synchronise both by NTP (chronyc tracking, timedatectl)"
    return ClockResult(area, "clock", State.FAULT, found, fix, server=server, skew=reading.skew)


def name_own_clock(results: Sequence[CheckResult]) -> list[CheckResult]:
    """Return the results with one fault of this machine's clock where two servers' clocks differ from it alike."""
    clocks = [result for result in results if isinstance(result, ClockResult)]
    if len(clocks) < 2 or max(c.skew for c in clocks) - min(c.skew for c in clocks) > 2 * TOLERANCE_SECONDS:  # noqa: PLR2004
        return list(results)
    first, servers = clocks[0], " and ".join(clock.server for clock in clocks)
    found = f"this machine's clock is {_difference(-first.skew)} those of {servers}"
    named = fault(first.area, first.name, found, "synchronise this machine by NTP (chronyc tracking, timedatectl)")
    others = {clock.key: not_applicable(clock.area, clock.name, f"see {first.key}") for clock in clocks[1:]}
    return [named if result is first else others.get(result.key, result) for result in results]


def _difference(skew: float) -> str:
    return f"{abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'}"
