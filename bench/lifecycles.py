"""`python -m bench.lifecycles`: create and commit over HTTP, against the engine's floor."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import lifecycles_plot
from bench.figures import (
    PROCESSES,
    Lifecycles,
    alternating,
    cpu_per_lifecycle,
    latencies,
    percentile,
    rate,
    ratio,
    ratios,
)
from bench.frame import run_alone, say, started
from bench.load import Job, Kind, Result
from bench.report import many, table, targets, unexpected
from bench.stack import App, Bench, Load

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CLIENTS = (1, 16, 64)
_KIND = {"product": "Holdfast", "floor": "floor"}


@dataclass(frozen=True)
class Plan:
    """Durations in seconds, and turns of the product, and as many of the floor, for each number of clients."""

    turn: float = 5.0
    warm_up: float = 1.5
    turns: int = 6


_QUICK = Plan(turn=1.5, warm_up=0.5, turns=1)


def measure(quick: bool) -> Lifecycles:
    """Create and commit holds, the product and the floor in turns, at each number of clients."""
    plan = _QUICK if quick else Plan()
    figures = Lifecycles(turn_seconds=plan.turn, warm_up=plan.warm_up)
    with started(floor=True) as (bench, load):
        for clients in CLIENTS:
            say(f"lifecycles at {many(clients)}")
            figures.turns[clients] = _turns(bench, load, plan, clients)
        figures.items_that_do_not_add_up = bench.audit()
    return figures


def _turns(bench: Bench, load: Load, plan: Plan, clients: int) -> dict[str, list[Result]]:
    results: dict[str, list[Result]] = {"product": [], "floor": []}
    sides: dict[str, tuple[Kind, App]] = {"product": ("product", bench.product), "floor": ("floor", bench.floor)}
    for name in alternating(plan.turns):
        kind, app = sides[name]
        job = Job(kind, app.port, app.token, clients, plan.warm_up, plan.turn, pids=bench.pids(app))
        results[name].append(load.run(job))
    return results


def lines(figures: Lifecycles) -> list[str]:
    """Return the section."""
    every = [result for by_name in figures.turns.values() for results in by_name.values() for result in results]
    return [
        "## Lifecycles: create, then commit, over HTTP",
        _introduction(figures),
        targets(_targets(figures)),
        _rates(figures),
        "CPU per lifecycle, in ms:",
        _cpu(figures),
        f"{unexpected(every)} Items whose stock does not add up: {figures.items_that_do_not_add_up}.",
    ]


def plot(figures: Lifecycles, axes: "Axes") -> None:
    """Draw throughput, latency and CPU, the product beside the floor."""
    lifecycles_plot.draw(figures, axes)


def _introduction(figures: Lifecycles) -> str:
    turns = len(next(iter(figures.turns.values()))["product"])
    return f"""\
The floor is an empty workflow behind the same kind of app: FastAPI under uvicorn, create = one update-with-start,
commit = one update that ends the run, a durable timer, no stock, no SQL, no activity, no token; its processes have the
options of Holdfast's. Both use one Temporal server and take turns (product, floor, floor, product, ...), {turns} each
of {figures.turn_seconds:.0f} s after {figures.warm_up:.1f} s that are not counted. A hold has one line; the lines are
spread over 1,000 items."""


def _targets(figures: Lifecycles) -> Iterable[tuple[str, str, str, bool]]:
    for clients in figures.turns:
        value, wanted = ratio(figures, clients), 0.85 if clients == 1 else 0.9
        yield f"lifecycles/s of the floor's, {many(clients)}", f"≥ {wanted:.2f}", f"{value:.2f}", value >= wanted
    for clients in figures.turns:
        product, floor = (sum(cpu_per_lifecycle(figures, clients, name)[p] for p in PROCESSES) for name in _KIND)
        said = f"{product / floor:.2f}x ({product:.1f} / {floor:.1f} ms)"
        yield f"CPU of the floor's, {many(clients)}", "≤ 1.20x", said, product / floor <= 1.2
    for clients in (1, 16):
        product, floor = (percentile(latencies(figures, clients, name, "create_ms"), 95) for name in _KIND)
        value = product / floor
        said = f"{value:.2f}x ({product:.1f} / {floor:.1f} ms)"
        yield f"create p95 of the floor's, {many(clients)}", "≤ 1.50x", said, value <= 1.5


def _rates(figures: Lifecycles) -> str:
    rows = []
    for clients in figures.turns:
        for name, label in _KIND.items():
            row = [f"{many(clients)}, {label}", f"{rate(figures, clients, name):.1f}"]
            for kind in ("create_ms", "commit_ms"):
                samples = latencies(figures, clients, name, kind)
                row.append(" / ".join(f"{percentile(samples, p):.1f}" for p in (50, 95, 99)))
            row.append(str(len(latencies(figures, clients, name, "create_ms"))))
            rows.append(row)
        turns = ", ".join(f"{value:.2f}" for value in ratios(figures, clients))
        rows.append([f"{many(clients)}, ratio", f"**{ratio(figures, clients):.2f}**", f"by turn: {turns}", "", ""])
    heads = ["", "lifecycles/s", "create p50 / p95 / p99 ms", "commit p50 / p95 / p99 ms", "samples"]
    return table(heads, rows)


def _cpu(figures: Lifecycles) -> str:
    rows = []
    for clients in figures.turns:
        for name, label in _KIND.items():
            used = cpu_per_lifecycle(figures, clients, name)
            total = sum(used[process] for process in PROCESSES)
            cells = [*(used[process] for process in PROCESSES), total, used["load"], used["elsewhere"]]
            rows.append([f"{many(clients)}, {label}", *(f"{cell:.2f}" for cell in cells)])
    heads = ["", *PROCESSES, "sum", "load generator", "rest of the machine"]
    return table(heads, rows)


if __name__ == "__main__":
    run_alone(measure, lines, plot)
