"""Claims about the cluster, each with its evidence."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from subprocess import CompletedProcess

import httpx
from prometheus_client.parser import text_string_to_metric_families

from bench.cluster.kills import Strike
from bench.load import Result
from bench.overload import Overload
from dev.harness.reconciliation import OVERDUE_SECONDS, Reconciliation


@dataclass(frozen=True)
class Claim:
    """A claim and its evidence."""

    text: str
    held: bool
    seen: str


def of_command(text: str, ran: CompletedProcess[str]) -> Claim:
    """Claim that a command succeeded; the evidence is its last line."""
    lines = (ran.stdout + ran.stderr).strip().splitlines() or ["it printed nothing"]
    return Claim(text, ran.returncode == 0, lines[-1])


def of_metrics(endpoints: Mapping[str, str]) -> Claim:
    """Claim that each endpoint, by the name of its service, serves series that Prometheus can parse."""
    series: dict[str, int] = {}
    for service, endpoint in endpoints.items():
        answer = httpx.get(f"http://{endpoint}/metrics", timeout=10, trust_env=False)
        series[service] = sum(len(family.samples) for family in text_string_to_metric_families(answer.text))
    seen = ", ".join(f"{service} {number}" for service, number in series.items())
    return Claim("Each of Temporal's services has metrics for Prometheus", all(series.values()), f"series: {seen}")


def of_load(text: str, turns: Iterable[Result]) -> Claim:
    """Claim that something was done, and that all answers were as expected."""
    errors: Counter[str] = Counter()
    done = 0
    for result in turns:
        done += result.done
        errors.update(result.errors)
    others = ", ".join(f"{number} x {kind}" for kind, number in sorted(errors.items())) or "no other answer"
    return Claim(text, done > 0 and not errors, f"{done} lifecycles, {others}")


def of_overload(overload: Overload) -> Claim:
    """Claim that of more than can be answered every request was answered, and nothing was held for who was refused."""
    floods = overload.floods
    unexpected, left = sum(sum(flood.unexpected.values()) for flood in floods), sum(flood.left for flood in floods)
    least = min(flood.goodput / min(flood.factor, 1.0) for flood in floods)
    seen = f"{len(floods)} floods: {unexpected} other answers, {left} holds left, goodput at least {least:.2f}"
    return Claim("In a flood of creates payments go on, and no hold is left", not unexpected and not left, seen)


def of_kills(strikes: Sequence[Strike], reconciliation: Reconciliation) -> list[Claim]:
    """Claim what must be true after every process was killed."""
    lost = _first(reconciliation.violations)
    ends = ", ".join(f"{number} {status}" for status, number in sorted(Counter(reconciliation.ends.values()).items()))
    worst = max(strikes, key=lambda strike: strike.silence)
    lasting = [strike.target for strike in strikes if not strike.recovered]
    return [
        Claim(
            "After every kill there are new holds again",
            held=not lasting,
            seen=", ".join(lasting) or f"{len(strikes)} kills, at most {worst.silence:.1f} s without ({worst.target})",
        ),
        Claim(
            "Every acknowledged hold is there, ended as reported and as its workflow says; stock adds up",
            held=not reconciliation.violations,
            seen=lost or f"{len(reconciliation.ends)} holds: {ends}",
        ),
        Claim(
            f"No hold is stuck past its deadline and {OVERDUE_SECONDS} s",
            held=reconciliation.longest_lag <= OVERDUE_SECONDS,
            seen=f"expired {reconciliation.longest_lag:.1f} s after it at the latest",
        ),
    ]


def _first(violations: Sequence[str]) -> str:
    return f"{len(violations)} violations, such as: {violations[0]}" if violations else ""
