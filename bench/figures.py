"""Statistics of the measurements: rates, ratios, percentiles, CPU per lifecycle."""

from collections.abc import Sequence
from typing import Literal

from bench.measure import Figures

PROCESSES = ("postgres", "temporal", "api", "worker")


def percentile(samples: Sequence[float], percent: int) -> float:
    """Return the sample that so many percent do not exceed (nearest rank)."""
    ranked = sorted(samples)
    return ranked[max(-(-len(ranked) * percent // 100) - 1, 0)] if ranked else float("nan")


def rate(figures: Figures, clients: int, name: str) -> float:
    """Return lifecycles a second over all turns."""
    results = figures.lifecycles[clients][name]
    return sum(result.done for result in results) / sum(result.seconds for result in results)


def ratio(figures: Figures, clients: int) -> float:
    """Return the product's rate over the floor's."""
    return rate(figures, clients, "product") / rate(figures, clients, "floor")


def ratios(figures: Figures, clients: int) -> list[float]:
    """Return the ratio of each product turn to the floor turn next to it."""
    both = zip(figures.lifecycles[clients]["product"], figures.lifecycles[clients]["floor"], strict=True)
    return [product.done / product.seconds / (floor.done / floor.seconds) for product, floor in both]


def latencies(figures: Figures, clients: int, name: str, kind: Literal["create_ms", "commit_ms"]) -> list[float]:
    """Return the samples of all turns."""
    return [ms for result in figures.lifecycles[clients][name] for ms in getattr(result, kind)]


def cpu_per_lifecycle(figures: Figures, clients: int, name: str) -> dict[str, float]:
    """Return milliseconds of CPU for each lifecycle, by process."""
    results = figures.lifecycles[clients][name]
    done = max(sum(result.done for result in results), 1)
    return {process: sum(r.cpu[process] for r in results) / done * 1000 for process in results[0].cpu}
