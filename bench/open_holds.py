"""`python -m bench.open_holds`: memory and idle CPU of every process, at rest and with many open holds."""

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.figures import PROCESSES
from bench.frame import run_alone, say, started
from bench.load import Job, Result
from bench.report import table, unexpected
from bench.usage import Memory, cpu_seconds, memory

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Plan:
    """How many holds, and the seconds of looking at processes that do nothing."""

    holds: int = 5000
    idle: float = 20.0


_QUICK = Plan(holds=200, idle=3.0)


@dataclass
class OpenHolds:
    """The results, by process. CPU is in percent of a core."""

    plan: Plan
    memory_at_rest: dict[str, Memory] = field(default_factory=dict)
    memory_open: dict[str, Memory] = field(default_factory=dict)
    idle_at_rest: dict[str, float] = field(default_factory=dict)
    idle_open: dict[str, float] = field(default_factory=dict)
    opened: Result = field(default_factory=Result)
    items_that_do_not_add_up: int = 0


def measure(quick: bool) -> OpenHolds:
    """Measure fresh processes idle, then with many open holds."""
    plan = _QUICK if quick else Plan()
    figures = OpenHolds(plan)
    with started() as (bench, load):
        app = bench.product
        load.run(Job("product", app.port, app.token, 4, seconds=2))  # loads what is loaded on first use
        time.sleep(1)
        pids = bench.pids(app)
        figures.idle_at_rest = _idle(pids, plan.idle / 2)
        figures.memory_at_rest = {name: memory(pid) for name, pid in pids.items()}
        say(f"{plan.holds} open holds")
        figures.opened = load.run(Job("open", app.port, app.token, 16, holds=plan.holds, pids=pids))
        time.sleep(min(plan.idle / 4, 5))
        figures.idle_open = _idle(pids, plan.idle)
        figures.memory_open = {name: memory(pid) for name, pid in pids.items()}
        figures.items_that_do_not_add_up = bench.audit()
    return figures


def _idle(pids: dict[str, int], seconds: float) -> dict[str, float]:
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    time.sleep(seconds)
    return {name: (cpu_seconds(pid) - before[name]) / seconds * 100 for name, pid in pids.items()}


def lines(figures: OpenHolds) -> list[str]:
    """Return the section."""
    rows = []
    for name in PROCESSES:
        rest, later = figures.memory_at_rest[name], figures.memory_open[name]
        cells = [f"{m.resident:.0f} / {m.unique:.0f}" for m in (rest, later)]
        cells += [f"{idle[name]:.1f}" for idle in (figures.idle_at_rest, figures.idle_open)]
        grown = (later.unique - rest.unique) * 1024 / max(figures.opened.done, 1)
        rows.append([name, *cells, f"{grown:.1f}"])
    heads = ["", "at rest, RSS / USS MiB", f"{figures.plan.holds:,} open holds, RSS / USS MiB"]
    heads += ["CPU at rest, % of a core", "CPU with the holds, % of a core", "USS a hold, KiB"]
    pace = figures.opened.done / figures.opened.seconds
    return [
        "## Memory and idle CPU",
        table(heads, rows),
        f"The holds were made at 16 clients, {pace:.0f} a second. The CPU with them is over {figures.plan.idle:.0f} s.",
        f"{unexpected([figures.opened])} Items whose stock does not add up: {figures.items_that_do_not_add_up}.",
    ]


def plot(figures: OpenHolds, axes: "Axes") -> None:
    """Draw the memory of each process, at rest and with the holds."""
    sides = {"at rest": figures.memory_at_rest, f"{figures.plan.holds:,} open holds": figures.memory_open}
    for (label, used), side, colour in zip(sides.items(), (-0.2, 0.2), ("#b7bcc4", "#20639b"), strict=True):
        places = [place + side for place in range(len(PROCESSES))]
        axes.bar(places, [used[name].unique for name in PROCESSES], 0.38, color=colour, label=label)
    axes.set_xticks(range(len(PROCESSES)), PROCESSES)
    axes.set_title("Unique memory, MiB")
    axes.legend(frameon=False)


if __name__ == "__main__":
    run_alone(measure, lines, plot)
