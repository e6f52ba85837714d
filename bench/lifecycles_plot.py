"""The plot of the lifecycles."""

from typing import TYPE_CHECKING

from bench.figures import PROCESSES, Lifecycles, cpu_per_lifecycle, latencies, percentile, rate, ratio
from bench.frame import panels

if TYPE_CHECKING:  # installed by `make bench` only
    from matplotlib.axes import Axes

_COLOURS = {"product": "#20639b", "floor": "#b7bcc4"}
_PROCESS_COLOURS = ("#3caea3", "#f6a04d", "#20639b", "#ed553b")
_SIDES = {"product": -0.2, "floor": 0.2}
_NAMES = {"product": "Holdfast", "floor": "floor (empty workflow)"}


def draw(figures: Lifecycles, axes: "Axes") -> None:
    """Draw throughput, latency and CPU, the product beside the floor, in place of the axes."""
    left, middle, right = panels(axes, 3, width=15)
    clients = list(figures.turns)
    _throughput(left, figures, clients)
    _latency(middle, figures, clients)
    _cpu(right, figures, clients)
    for each in (left, middle, right):
        each.set_xticks(range(len(clients)), [f"{number} clients" if number > 1 else "1 client" for number in clients])


def _throughput(axes: "Axes", figures: Lifecycles, clients: list[int]) -> None:
    axes.set_title("Lifecycles a second (dots: turns; above: ratio)")
    for name, side in _SIDES.items():
        places = [place + side for place in range(len(clients))]
        axes.bar(places, [rate(figures, n, name) for n in clients], 0.38, color=_COLOURS[name], label=_NAMES[name])
        for place, number in zip(places, clients, strict=True):
            turns = [result.done / result.seconds for result in figures.turns[number][name]]
            axes.plot([place] * len(turns), turns, ".", color="black", markersize=4)
    for place, number in enumerate(clients):
        top = max(rate(figures, number, name) for name in _SIDES)
        axes.annotate(f"{ratio(figures, number):.2f}", (place, top * 1.08), ha="center", weight="bold")
    axes.set_ylim(top=axes.get_ylim()[1] * 1.3)
    axes.legend(frameon=False, loc="upper left")


def _latency(axes: "Axes", figures: Lifecycles, clients: list[int]) -> None:
    axes.set_title("Milliseconds: p50 (bar), p95 and p99 (ticks)")
    for name, side in _SIDES.items():
        for kind, shift, hatch in (("create_ms", -0.09, ""), ("commit_ms", 0.09, "//")):
            for place, number in enumerate(clients):
                samples = latencies(figures, number, name, "create_ms" if kind == "create_ms" else "commit_ms")
                label = f"{_NAMES[name]}, {kind.removesuffix('_ms')}" if place == 0 else None
                x, p50, p95, p99 = place + side + shift, *(percentile(samples, p) for p in (50, 95, 99))
                axes.bar(x, p50, 0.16, color=_COLOURS[name], hatch=hatch, edgecolor="white", label=label)
                axes.plot([x, x], [p50, p99], color="black", linewidth=0.8)
                axes.plot([x, x], [p95, p99], "_", color="black", markersize=6)
    axes.set_yscale("log")
    axes.set_ylim(top=axes.get_ylim()[1] * 8)
    axes.legend(frameon=False, fontsize="small", loc="upper left")


def _cpu(axes: "Axes", figures: Lifecycles, clients: list[int]) -> None:
    axes.set_title("CPU per lifecycle, ms (left: Holdfast, right: floor)")
    for name, side in _SIDES.items():
        for place, number in enumerate(clients):
            used, bottom = cpu_per_lifecycle(figures, number, name), 0.0
            for process, colour in zip(PROCESSES, _PROCESS_COLOURS, strict=True):
                label = process if place == 0 and name == "product" else None
                axes.bar(place + side, used[process], 0.38, bottom=bottom, color=colour, label=label)
                bottom += used[process]
    axes.set_ylim(top=axes.get_ylim()[1] * 1.2)
    axes.legend(frameon=False, ncols=2, fontsize="small", loc="upper left")
