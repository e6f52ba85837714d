"""Evaluates the figures of a report: against the targets, for the TTL, and for common issues."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from cli.report.measurements import Measurements
from cli.report.records import Records

COMMIT_RATE = 0.80
EXPIRY_RATE = 0.20
ACCURACY = 0.99
LATENCY_MS = {"create": 200, "commit": 100, "release": 100, "validate": 100, "webhook": 500}
"""Targets of the deployment checklist, for the 95th percentile."""

_HIGH_EXPIRY = 0.30
_LOW_COMMIT = 0.60
_MAX_BUSY = 10
_MIN_HOLDS = 20
"""The least number of holds for which a rate or percentile is evaluated."""
_MIN_TTL_SECONDS = 600
_TTL_MARGIN = 1.5
_NEAR_TTL = 0.9


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure and its target. `met` is None if there is too little data to evaluate it."""

    name: str
    shown: str
    target: str
    met: bool | None


@dataclass(frozen=True, slots=True)
class Issue:
    """A common issue that the figures show, and the steps to take."""

    name: str
    seen: str
    do: tuple[str, ...]


def evaluate_targets(records: Records, measured: Measurements) -> Iterator[Figure]:
    """Yield every figure that has a target."""
    enough = records.ended >= _MIN_HOLDS
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
        shown = "–" if seconds is None else f"{seconds * 1000:.0f} ms"  # noqa: RUF001 - a dash for no value
        yield Figure(f"{name} p95", shown, f"< {most} ms", None if seconds is None else seconds * 1000 < most)


def suggested_ttl(records: Records, present: int, ceiling: int) -> tuple[int | None, str]:
    """Return the TTL in seconds that the commits suggest, and why. None where they suggest none.

    1.5 times the p95 from creation to commit, in whole minutes, at least 600 and at most the ceiling. If commits come
    close to the present TTL, slower checkouts are cut off and not measured: then it suggests 1.5 times the present TTL.
    """
    p95 = records.commit_p95
    if p95 is None or records.committed < _MIN_HOLDS:
        return None, f"needs at least {_MIN_HOLDS} commits"
    if p95 >= present * _NEAR_TTL:
        longer = min(math.ceil(present * _TTL_MARGIN / 60) * 60, ceiling)
        return longer, f"commits come close to the present {present} s, so slower checkouts are not measured"
    suggested = min(max(math.ceil(p95 * _TTL_MARGIN / 60) * 60, _MIN_TTL_SECONDS), ceiling)
    return (
        suggested,
        f"{_TTL_MARGIN:g} times the p95 of {p95:.0f} s, within {min(_MIN_TTL_SECONDS, ceiling)} to {ceiling} s",
    )


def find_issues(records: Records, measured: Measurements, ttl: int | None) -> Iterator[Issue]:
    """Yield each common issue of the deployment checklist that the figures show."""
    enough = records.ended >= _MIN_HOLDS
    if enough and (records.expiry_rate or 0) > _HIGH_EXPIRY:
        yield Issue(
            "High expiry rate",
            f"{_percent(records.expiry_rate)} of the holds expired, more than {_HIGH_EXPIRY:.0%}",
            (
                "compare the p50 and p95 from creation to commit, above",
                f"set INVENTORY_HOLD_TTL_SECONDS={ttl}" if ttl else "if checkouts are slow, raise the TTL",
                "look for failed payments in Stripe's dashboard, and for missing webhooks: holdfast doctor",
                "find the step at which shoppers leave the checkout",
            ),
        )
    if enough and (records.commit_rate or 0) < _LOW_COMMIT:
        yield Issue(
            "Low commit rate",
            f"{_percent(records.commit_rate)} of the holds were committed, less than {_LOW_COMMIT:.0%}",
            (
                "check that webhooks arrive: holdfast doctor, and the endpoint's deliveries in Stripe's dashboard",
                "check that webhooks are processed: holdfast smoke, and inventory_stripe_event_total by result",
                "look for declined payments in Stripe's dashboard",
                f"check abandoned carts: {records.released} holds were released, {records.expired} expired",
            ),
        )
    if (measured.busy or 0) > _MAX_BUSY:
        yield Issue(
            "Database lock contention",
            f"{measured.busy} statements timed out waiting for row locks",
            (
                "find long transactions: SELECT pid, state, xact_start, query FROM pg_stat_activity ORDER BY 3",
                "check whether one item has most of the demand; keep INVENTORY_DATABASE_POOL_SIZE small",
                "give the database more CPU; read replicas do not help, as every hold is a write",
                "raise INVENTORY_LOCK_TIMEOUT_MS (4000 at most)",
            ),
        )
    if records.overdue:
        yield Issue(
            "Worker not running",
            f"{records.overdue} active holds passed their deadline more than a minute ago",
            (
                "start one: python -m worker; check the workers: holdfast doctor",
                "check whether these holds wait for Stripe: their workflow's page in the Temporal UI shows it",
                "check whether their workflow was terminated: a commit or release of the hold starts a new run",
            ),
        )


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"  # noqa: RUF001 - a dash for no value
