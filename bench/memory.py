"""`python -m bench.memory [--quick] [HOLDS [CACHED]]`: what an open hold costs a worker in memory, in its cache or not.

HOLDS are opened, of which the worker caches CACHED (half of them). All run in the worker, and none in the API.
"""

import asyncio
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.caller import Answers, Caller
from bench.figures import percentile
from bench.frame import stop_with_sigterm
from bench.report import table
from bench.stack import Bench, running
from bench.usage import memory
from core.process_memory import MemoryLimit
from core.worker_cache import cached_workflows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CALLERS = 16
_COMMITS = 100
_AGAIN_SECONDS = 0.1
_ALL = 100_000
"""Open holds that 2 GiB of worker are to keep."""
_PROCESSES, _LIMIT = 2, 2**30
"""An API and a worker, each limited to 1 GiB."""
_TTL_SECONDS = 86_400
"""No hold may expire before the last one is open."""


@dataclass(frozen=True)
class MemoryResult:
    """Unique memory in MiB of a worker, and milliseconds of commits."""

    cached: int
    cold: int
    """Open holds within the cache and beyond it."""
    at_rest: float
    cache_full: float
    all_open: float
    commit_cached_ms: list[float]
    commit_cold_ms: list[float]

    @property
    def cached_kib(self) -> float:
        """What a hold in the cache takes."""
        return (self.cache_full - self.at_rest) * 1024 / self.cached

    @property
    def cold_kib(self) -> float:
        """What a hold takes after it has left the cache."""
        return (self.all_open - self.cache_full) * 1024 / self.cold


def measure(*, quick: bool, holds: int | None = None, cached: int | None = None) -> MemoryResult:
    """Fill a worker's cache, open more holds, and sell some of both kinds in turns."""
    holds = holds or (300 if quick else 5000)
    cached = cached or holds // 2
    changes = {
        "HOLDFAST_API_RUNS_HOLDS": "0",
        "HOLDFAST_WORKER_CACHED_HOLDS": str(cached),
        "INVENTORY_HOLD_MAX_TTL_SECONDS": str(_TTL_SECONDS),
    }
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
        Path(folder).chmod(0o755)
        with running(Path(folder), changes, floor=False) as (bench, _):
            return asyncio.run(_measure(bench, cached, holds - cached))


async def _measure(bench: Bench, within: int, beyond: int) -> MemoryResult:
    used = [memory(bench.product.worker.pid).unique]
    first = await _opened(bench, within)
    used.append(memory(bench.product.worker.pid).unique)
    second = await _opened(bench, beyond)  # takes the places of the first in the cache
    used.append(memory(bench.product.worker.pid).unique)
    cached, cold, caller = Answers(), Answers(), Caller(bench.product)
    for hot_id, cold_id in zip(second[::-1][:_COMMITS], first, strict=False):
        await caller.commit(cached, hot_id)
        await caller.commit(cold, cold_id)
    caller.close()
    return MemoryResult(within, beyond, used[0], used[1], used[2], cached.commit_ms, cold.commit_ms)


async def _opened(bench: Bench, holds: int) -> list[str]:
    """Open holds that stay open. Returns their ids in the order in which they were made."""
    made: list[str] = []

    async def open_some(number: int) -> None:
        caller = Caller(bench.product)
        for _ in range(number, holds, _CALLERS):
            hold_id = None
            while hold_id is None:
                hold_id = await caller.create(Answers(), ttlSeconds=_TTL_SECONDS)
                await asyncio.sleep(_AGAIN_SECONDS if hold_id is None else 0)
            made.append(hold_id)
        caller.close()

    await asyncio.gather(*(open_some(number) for number in range(_CALLERS)))
    return made


def lines(result: MemoryResult) -> list[str]:
    """Return the section of the report."""
    cached, cold = (percentile(ms, 50) for ms in (result.commit_cached_ms, result.commit_cold_ms))
    most = cached_workflows(MemoryLimit(_LIMIT, own=True), 1)
    kept = _PROCESSES * (result.at_rest + most * result.cached_kib / 1024)
    return [
        "## Memory of open holds",
        table(
            ["an open hold", "KiB in the worker", "commit p50", "commit p95"],
            [
                (
                    "in the cache",
                    f"{result.cached_kib:.0f}",
                    f"{cached:.1f} ms",
                    f"{percentile(result.commit_cached_ms, 95):.1f} ms",
                ),
                (
                    "left it",
                    f"{result.cold_kib:.1f}",
                    f"{cold:.1f} ms",
                    f"{percentile(result.commit_cold_ms, 95):.1f} ms",
                ),
            ],
        ),
        (
            f"A cache of {result.cached:,} holds, then {result.cold:,} more; unique memory of one process, which takes"
            f" {result.at_rest:.0f} MiB at rest and {result.all_open:,.0f} with all of them open. By these figures"
            f" {_ALL:,} open holds take {kept:,.0f} MiB in {_PROCESSES} processes, an API and a worker, each with a"
            f" limit of 1,024 and so a cache of {most:,} (wanted: 2,048)."
        ),
    ]


def plot(result: MemoryResult, axes: "Axes") -> None:
    """Draw memory over open holds."""
    axes.set_title("Worker's memory over open holds, MiB")
    places = [0, result.cached, result.cached + result.cold]
    axes.plot(places, [result.at_rest, result.cache_full, result.all_open], "o-", color="#20639b")
    axes.axvline(result.cached, color="#b7bcc4", linestyle="--", label="the cache is full")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)


def main() -> None:
    """Print the section."""
    stop_with_sigterm()
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    holds, cached = [*numbers, None, None][:2]
    print("\n\n".join(lines(measure(quick="--quick" in sys.argv, holds=holds, cached=cached))))


if __name__ == "__main__":
    main()
