"""`python -m bench.overload`: more creates arrive than can be answered, with and without payments beside them."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from bench.figures import percentile
from bench.frame import stop_with_sigterm
from bench.load import SHOP
from bench.open_load import Answers, Job, Result
from bench.report import table
from bench.stack import WEBHOOK_SECRET, running

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CLIENTS = 12
"""Of the measurement of the capacity: enough to keep two cores busy, and few enough for every create to be let in."""
_IN_TIME_MS = 1000.0
_NORMAL = 3.0
_IN_A_ROW = 10
"""After the flood, answers are as usual once so many in a row take at most so many times the p95 before it."""
_SETTLE_SECONDS = 1.0
_ACTIVE = """SELECT count(*) FROM "InventoryHold" WHERE "shopId" = %s AND status = 'active'"""


@dataclass(frozen=True)
class Target:
    """What is measured: an API by its port, with what its callers know, and its database."""

    port: int
    token: str
    secret: str
    database_url: str


@dataclass(frozen=True)
class Beside:
    """What arrives in a second beside the creates."""

    commits: float
    webhooks: float

    @property
    def name(self) -> str:
        with_payments = f"with {self.commits:.0f} commits/s and {self.webhooks:.0f} webhooks/s"
        return with_payments if self.commits else "creates only"


ALONE, PAYING = Beside(0, 0), Beside(10, 50)


@dataclass(frozen=True)
class Plan:
    """Seconds, the loads as multiples of the capacity, and what arrives beside them."""

    flood: float = 60.0
    capacity: float = 8.0
    factors: tuple[float, ...] = (0.5, 1, 2, 4)
    beside: tuple[Beside, ...] = (ALONE, PAYING)
    afterwards: float = 4.0
    failing: int = 200
    """Holds for which payments fail."""


QUICK = Plan(flood=4.0, capacity=2.0, factors=(2,), beside=(PAYING,), afterwards=2.0, failing=40)


@dataclass
class Flood:
    """One load and what came of it."""

    beside: Beside
    factor: float
    capacity: float
    """Creates a second, measured just before and after with the same beside it: the mean."""
    quiet_create_p95: float
    quiet: Result
    """Of the same payments without creates, just before."""
    result: Result
    left: int
    """Active holds beyond those whose callers were told so."""

    @property
    def goodput(self) -> float:
        """Creates answered 201 within a second, as a share of the capacity."""
        in_time = sum(ms <= _IN_TIME_MS for ms in self.result.creates.ms.get("201", ()))
        return in_time / self.result.seconds / self.capacity

    @property
    def made(self) -> list[float]:
        return self.result.creates.ms.get("201", [])

    @property
    def refused(self) -> list[float]:
        return self.result.creates.ms.get("429", [])

    @property
    def unexpected(self) -> dict[str, int]:
        """How many creates were answered neither 201 nor 429, and payments not 200, by request and answer."""
        expected = {"creates": ("201", "429"), "commits": ("200",), "webhooks": ("200",)}
        return {
            f"{kind} {status}": len(ms)
            for kind, statuses in expected.items()
            for status, ms in getattr(self.result, kind).ms.items()
            if status not in statuses
        }

    @property
    def recovered_after(self) -> float:
        """Seconds from the end of the flood to the first of ten creates in a row that are answered as usual."""
        usual = max(_NORMAL * self.quiet_create_p95, 250.0)
        row: list[float] = []
        for after, status, ms in sorted(self.result.afterwards):
            row = [*row, after] if status == "201" and ms <= usual else []
            if len(row) == _IN_A_ROW:
                return row[0]
        return float("inf")


@dataclass
class Overload:
    """All floods, and the times of payments before the first of them, with few open holds."""

    plan: Plan
    floods: list[Flood] = field(default_factory=list)
    quiet: Result = field(default_factory=Result)


class _Measurement:
    def __init__(self, target: Target, plan: Plan, say: Callable[[str], None]) -> None:
        self._target = target
        self._plan = plan
        self._say = say
        self._open: list[str] = []
        self._load = subprocess.Popen(
            [sys.executable, "-m", "bench.open_load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self) -> Overload:
        try:
            return self._run()
        finally:
            self._load.terminate()
            self._load.wait()

    def _run(self) -> Overload:
        plan, overload = self._plan, Overload(self._plan)
        self._job(plan.capacity, ALONE, clients=_CLIENTS)  # loads what is loaded on first use
        overload.quiet = self._job(plan.capacity * 2, PAYING)
        for beside in plan.beside:
            calm = self._job(plan.capacity, beside, creates=2.0)
            before = self._capacity(beside)
            for factor in plan.factors:
                self._say(f"{factor:g} times the capacity, {beside.name}")
                self._make_holds(beside, plan.flood + plan.capacity * 2)
                quiet = self._job(plan.capacity * 2, beside) if beside.commits else Result()
                active = self._active()
                result = self._job(plan.flood, beside, creates=factor * before, afterwards=plan.afterwards)
                time.sleep(_SETTLE_SECONDS)
                left = self._active() - active - len(result.made) + result.commits.count("200")
                after = self._capacity(beside)
                p95 = percentile(calm.creates.ms["201"], 95)
                overload.floods.append(Flood(beside, factor, (before + after) / 2, p95, quiet, result, left))
                before = after
        return overload

    def _capacity(self, beside: Beside) -> float:
        result = self._job(self._plan.capacity, beside, clients=_CLIENTS)
        return result.creates.count("201") / result.seconds

    def _job(
        self,
        seconds: float,
        beside: Beside,
        *,
        clients: int = 0,
        creates: float = 0.0,
        afterwards: float = 0.0,
    ) -> Result:
        """Run a load, of which the payments get holds of their own, made before."""
        commits = self._make_holds(beside, seconds)
        taken, self._open = self._open[:commits], self._open[commits:]
        result = self._ask(
            Job(
                self._target.port,
                self._target.token,
                seconds,
                creates=creates,
                clients=clients,
                commits=beside.commits,
                webhooks=beside.webhooks,
                secret=self._target.secret,
                open_holds=taken,
                failing=self._plan.failing,
                afterwards=afterwards,
            )
        )
        self._open += taken[result.commits.total : -self._plan.failing] + result.made
        return result

    def _make_holds(self, beside: Beside, seconds: float) -> int:
        """Make the holds that a load pays, where there are not enough; return how many it takes."""
        commits = int(beside.commits * seconds * 1.5) + self._plan.failing if beside.commits else 0
        while len(self._open) < commits:
            self._open += self._ask(Job(self._target.port, self._target.token, 2.0, clients=_CLIENTS)).made
        return commits

    def _ask(self, job: Job) -> Result:
        assert self._load.stdin is not None
        assert self._load.stdout is not None
        self._load.stdin.write(json.dumps(asdict(job)) + "\n")
        self._load.stdin.flush()
        return Result.read(self._load.stdout.readline())

    def _active(self) -> int:
        with psycopg.connect(self._target.database_url) as connection:
            row = connection.execute(_ACTIVE, [SHOP]).fetchone()
        assert row is not None
        return int(row[0])


def measure_on(target: Target, plan: Plan, say: Callable[[str], None]) -> Overload:
    """Measure an API that runs already."""
    return _Measurement(target, plan, say).run()


def measure(quick: bool) -> Overload:
    """Run the product alone on this machine and measure it."""
    with tempfile.TemporaryDirectory(prefix="holdfast-overload-") as folder:
        Path(folder).chmod(0o755)
        with running(Path(folder), floor=False) as (bench, _):
            target = Target(bench.product.port, bench.product.token, WEBHOOK_SECRET, bench.database_url)
            return measure_on(target, QUICK if quick else Plan(), _say)


def _say(what: str) -> None:
    print(f"... {what}", file=sys.stderr, flush=True)


def lines(result: Overload) -> list[str]:
    """Return the section of the report."""
    explanation = (
        f"Creates arrive at random, for {result.plan.flood:.0f} s, at a multiple of the rate that {_CLIENTS} callers "
        "reach who each wait for their answer (measured before and after, with the same beside it). Goodput: creates "
        "answered 201 within a second, as a share of that rate. Recovered: from when on ten creates in a row after the "
        "flood were answered as usual. Left: active holds beyond those whose callers were told 201. The times of "
        "commits and webhooks are compared with those of the same payments without creates, just before."
    )
    heads = ["load", "capacity/s", "goodput", "201 p50 / p95 ms", "refused", "refusal p95 ms", "commit p95"]
    heads += ["webhook p95", "other answers", "recovered", "left"]
    rows = []
    for flood in result.floods:
        refused = f"{len(flood.refused) / max(flood.result.creates.total, 1):.0%}"
        refusal = f"{percentile(flood.refused, 95):.0f}" if flood.refused else "-"
        rows.append(
            [
                f"{flood.factor:g} times, {flood.beside.name}",
                f"{flood.capacity:.1f}",
                f"**{flood.goodput:.2f}**",
                f"{percentile(flood.made, 50):.0f} / {percentile(flood.made, 95):.0f}",
                refused,
                refusal,
                _times(flood.result.commits, flood.quiet.commits),
                _times(flood.result.webhooks, flood.quiet.webhooks),
                ", ".join(f"{number} {what}" for what, number in flood.unexpected.items()) or "0",
                f"{flood.recovered_after:.1f} s",
                str(flood.left),
            ]
        )
    quiet = (
        "With few open holds, before the first flood and without creates: "
        f"commit p95 {_p95(result.quiet.commits):.0f} ms, webhook p95 {_p95(result.quiet.webhooks):.0f} ms."
    )
    return ["## More than can be answered", explanation, table(heads, rows), quiet]


def _times(answers: Answers, quiet: Answers) -> str:
    """Return the p95, and what multiple of the quiet one it is."""
    if not (answers.count("200") and quiet.count("200")):
        return "-"
    return f"{_p95(answers):.0f} ms, {_p95(answers) / _p95(quiet):.1f} times {_p95(quiet):.0f}"


def _p95(answers: Answers) -> float:
    return percentile(answers.ms["200"], 95)


def plot(result: Overload, axes: "Axes") -> None:
    """Draw the goodput over the load."""
    axes.set_title("Creates answered within 1 s, as a share of the capacity")
    for beside, colour in zip(result.plan.beside, ("#20639b", "#f6a04d"), strict=False):
        floods = [flood for flood in result.floods if flood.beside == beside]
        factors, goodput = [flood.factor for flood in floods], [flood.goodput for flood in floods]
        axes.plot(factors, goodput, "o-", color=colour, label=beside.name)
    factors = sorted({flood.factor for flood in result.floods})
    axes.plot(factors, [min(factor, 1.0) for factor in factors], ":", color="#b7bcc4", label="all that is possible")
    axes.set_xlabel("arriving creates, as a multiple of the capacity")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize="small", loc="lower right")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short trial run; its figures are noise")
    stop_with_sigterm()
    print("\n\n".join(lines(measure(quick=parser.parse_args().quick))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
