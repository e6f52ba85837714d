"""Statistics of the measurements: rates, ratios, percentiles, CPU per lifecycle."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from bench.load import Result

PROCESSES = ("postgres", "temporal", "api", "worker")


@dataclass
class Lifecycles:
    """The results of product and floor."""

    turns: dict[int, dict[str, list[Result]]] = field(default_factory=dict)
    """By clients, then `product` and `floor`: one result a turn, in the order in which they ran."""
    items_that_do_not_add_up: int = 0
    turn_seconds: float = 0.0
    warm_up: float = 0.0


def percentile(samples: Sequence[float], percent: int) -> float:
    """Return the sample that so many percent do not exceed (nearest rank)."""
    ranked = sorted(samples)
    return ranked[max(-(-len(ranked) * percent // 100) - 1, 0)] if ranked else float("nan")


def alternating(rounds: int) -> list[str]:
    """Return the order ABBA of product and floor: each runs first as often as second."""
    return [name for n in range(rounds) for name in (("product", "floor"), ("floor", "product"))[n % 2]]


def rate(figures: Lifecycles, clients: int, name: str) -> float:
    """Return lifecycles a second over all turns."""
    results = figures.turns[clients][name]
    return sum(result.done for result in results) / sum(result.seconds for result in results)


def ratio(figures: Lifecycles, clients: int) -> float:
    """Return the product's rate over the floor's."""
    return rate(figures, clients, "product") / rate(figures, clients, "floor")


def ratios(figures: Lifecycles, clients: int) -> list[float]:
    """Return the ratio of each product turn to the floor turn next to it."""
    both = zip(figures.turns[clients]["product"], figures.turns[clients]["floor"], strict=True)
    return [product.done / product.seconds / (floor.done / floor.seconds) for product, floor in both]


def latencies(figures: Lifecycles, clients: int, name: str, kind: Literal["create_ms", "commit_ms"]) -> list[float]:
    """Return the samples of all turns."""
    return [ms for result in figures.turns[clients][name] for ms in getattr(result, kind)]


def cpu_per_lifecycle(figures: Lifecycles, clients: int, name: str) -> dict[str, float]:
    """Return milliseconds of CPU for each lifecycle, by process."""
    results = figures.turns[clients][name]
    done = max(sum(result.done for result in results), 1)
    return {process: sum(r.cpu[process] for r in results) / done * 1000 for process in results[0].cpu}
