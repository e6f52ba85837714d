"""What the figures say: against their targets, for the TTL, and for what commonly goes wrong."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from cli.report.measurements import Measurements
from cli.report.records import Records

COMMIT_RATE = 0.80
EXPIRY_RATE = 0.20
ACCURACY = 0.99
LATENCY_MS = {"create": 200, "commit": 100, "release": 100, "validate": 100, "webhook": 500}
"""The targets of the deployment checklist, at the 95th percentile."""

_HIGH_EXPIRY = 0.30
_LOW_COMMIT = 0.60
_MANY_BUSY = 10
_ENOUGH = 20
"""Fewer holds than this say nothing of a rate or a percentile."""
_LEAST_TTL = 600
_ROOM = 1.5
_AT_THE_EDGE = 0.9


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure and its target. `met` is None where there is too little to judge by."""

    name: str
    shown: str
    target: str
    met: bool | None


@dataclass(frozen=True, slots=True)
class Issue:
    """What commonly goes wrong, seen in the figures, and what to do."""

    name: str
    seen: str
    do: tuple[str, ...]


def figures(records: Records, measured: Measurements) -> Iterator[Figure]:
    """Yield each figure that has a target."""
    enough = records.ended >= _ENOUGH
    for name, rate, target, above in (
        ("commit rate", records.commit_rate, COMMIT_RATE, True),
        ("expiry rate", records.expiry_rate, EXPIRY_RATE, False),
    ):
        met = None if rate is None or not enough else (rate > target if above else rate < target)
        yield Figure(name, _percent(rate), f"{'>' if above else '<'} {target:.0%}", met)
    yield Figure("oversold", str(records.oversold), "0", records.oversold == 0)
    accuracy = records.accuracy
    yield Figure(
        "inventory accuracy", _percent(accuracy), f"> {ACCURACY:.0%}", None if accuracy is None else accuracy > ACCURACY
    )
    for name, most in LATENCY_MS.items():
        seconds = measured.p95.get(name)
        shown = "–" if seconds is None else f"{seconds * 1000:.0f} ms"  # noqa: RUF001 - a dash for nothing
        yield Figure(f"{name} p95", shown, f"< {most} ms", None if seconds is None else seconds * 1000 < most)


def suggested_ttl(records: Records, present: int, ceiling: int) -> tuple[int | None, str]:
    """Return the TTL in seconds that the commits suggest, and why. None where they suggest none.

    Half as long again as nineteen of twenty checkouts take, by the minute, 600 to the ceiling. Commits right up to the
    present TTL hide those that came too late: then it suggests half as much again.
    """
    p95 = records.commit_p95
    if p95 is None or records.committed < _ENOUGH:
        return None, f"fewer than {_ENOUGH} commits say nothing of how long a checkout takes"
    if p95 >= present * _AT_THE_EDGE:
        longer = min(math.ceil(present * _ROOM / 60) * 60, ceiling)
        return longer, f"commits come right up to the {present} s there are: those that took longer are not seen"
    wanted = min(max(math.ceil(p95 * _ROOM / 60) * 60, _LEAST_TTL), ceiling)
    return wanted, f"half as long again as the p95 of {p95:.0f} s, {min(_LEAST_TTL, ceiling)} to {ceiling}"


def issues(records: Records, measured: Measurements, ttl: int | None) -> Iterator[Issue]:
    """Yield what the deployment checklist calls common issues, where the figures show them."""
    enough = records.ended >= _ENOUGH
    if enough and (records.expiry_rate or 0) > _HIGH_EXPIRY:
        yield Issue(
            "High expiry rate",
            f"{_percent(records.expiry_rate)} of the holds expired, more than {_HIGH_EXPIRY:.0%}",
            (
                "see how long checkouts take: the p50 and p95 to commit, above",
                f"set INVENTORY_HOLD_TTL_SECONDS={ttl}" if ttl else "if checkouts are slow, raise the TTL",
                "look for failed payments in Stripe's dashboard, and for webhooks that did not arrive: holdfast doctor",
                "look at where shoppers leave the checkout",
            ),
        )
    if enough and (records.commit_rate or 0) < _LOW_COMMIT:
        yield Issue(
            "Low commit rate",
            f"{_percent(records.commit_rate)} of the holds were sold, fewer than {_LOW_COMMIT:.0%}",
            (
                "see that webhooks arrive: holdfast doctor, and the endpoint's deliveries in Stripe's dashboard",
                "see that they are acted on: holdfast smoke, and inventory_stripe_event_total by result",
                "look for declined payments in Stripe's dashboard",
                f"look at abandoned carts: {records.released} holds were released, {records.expired} expired",
            ),
        )
    if (measured.busy or 0) > _MANY_BUSY:
        yield Issue(
            "Database lock contention",
            f"{measured.busy} statements did not get their row locks in time",
            (
                "find what holds locks long: SELECT pid, state, xact_start, query FROM pg_stat_activity ORDER BY 3",
                "see whether one item is wanted by all: rejections per item; keep INVENTORY_DATABASE_POOL_SIZE small",
                "give the database more CPU; read replicas do not help, every hold is a write",
                "raise INVENTORY_LOCK_TIMEOUT_MS (4000 at most)",
            ),
        )
    if records.overdue:
        yield Issue(
            "Worker not running",
            f"{records.overdue} active holds are past their deadline for more than a minute",
            (
                "start one: python -m worker; see who polls: holdfast doctor",
                "see whether these holds wait for Stripe: their page in the Temporal UI says what they wait for",
                "see whether their workflow was terminated: a commit or release for the hold starts a new run",
            ),
        )


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"  # noqa: RUF001 - a dash for nothing
