"""`python -m bench.fairness [--quick]`: how long a calm shop waits beside another's rush, with and without turns."""

import asyncio
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.caller import Answers, Caller
from bench.figures import percentile
from bench.frame import stop_with_sigterm
from bench.load import Job
from bench.report import MARKS, table
from bench.stack import Bench, Load, running, stock_shop

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CALM = "calm"
_RUSHING_CLIENTS = 64
_EVERY = 0.25
_UNFAIR = "--dynamic-config-value=matching.enableFairness=false"
KINDS = {"in turn": (), "in order of arrival": (_UNFAIR,)}
"""How tasks are handed out, and the flags of such a server; a later flag overrides an earlier one."""


@dataclass
class Fairness:
    """The calm shop's checkouts, by how tasks are handed out."""

    quiet: dict[str, Answers] = field(default_factory=lambda: {kind: Answers() for kind in KINDS})
    beside: dict[str, Answers] = field(default_factory=lambda: {kind: Answers() for kind in KINDS})
    rush: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    """Lifecycles a second of the rushing shop, by turn."""

    def times_slower(self, kind: str) -> float:
        """p95 of the calm shop's create beside the rush, over that of a quiet one."""
        return percentile(self.beside[kind].create_ms, 95) / percentile(self.quiet[kind].create_ms, 95)


def measure(*, quick: bool) -> Fairness:
    """Run two stacks that differ only in how tasks are handed out, and let the rush take turns between them."""
    rounds, seconds = (1, 3.0) if quick else (3, 10.0)
    result = Fairness()
    with ExitStack() as stack:
        stacks: dict[str, tuple[Bench, Load]] = {}
        for kind, flags in KINDS.items():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-bench-")))
            folder.chmod(0o755)
            stacks[kind] = stack.enter_context(running(folder, temporal_flags=flags, floor=False))
            stock_shop(stacks[kind][0].settings, _CALM)
        for number in range(rounds):
            for kind in list(KINDS)[:: 1 if number % 2 == 0 else -1]:
                asyncio.run(_turn(*stacks[kind], kind, seconds, result))
    return result


async def _turn(bench: Bench, load: Load, kind: str, seconds: float, result: Fairness) -> None:
    caller = Caller(bench.product, _CALM)
    quiet_until = asyncio.get_running_loop().time() + seconds / 2
    goes_on = lambda: asyncio.get_running_loop().time() < quiet_until  # noqa: E731
    await caller.buy_while(result.quiet[kind], goes_on, _EVERY)
    rush = Job("product", bench.product.port, bench.product.token, _RUSHING_CLIENTS, warm_up=1.0, seconds=seconds)
    rushing = asyncio.create_task(asyncio.to_thread(load.run, rush))
    await asyncio.sleep(rush.warm_up)
    ends_at = asyncio.get_running_loop().time() + seconds
    await caller.buy_while(
        result.beside[kind], lambda: not rushing.done() and asyncio.get_running_loop().time() < ends_at, _EVERY
    )
    rushed = await rushing
    result.rush[kind].append(rushed.done / rushed.seconds)
    caller.close()


def lines(result: Fairness) -> list[str]:
    """Return the section of the report."""
    rows = []
    for kind in KINDS:
        quiet, beside = result.quiet[kind], result.beside[kind]
        times = result.times_slower(kind)
        rows.append(
            (
                f"tasks handed out {kind}",
                *(f"{percentile(each.create_ms, p):.0f}" for each in (quiet, beside) for p in (50, 95)),
                f"{times:.1f} {MARKS[times <= 3]}",
                f"{percentile(quiet.commit_ms, 95):.0f} / {percentile(beside.commit_ms, 95):.0f}",
                str(beside.refused.total()),
                f"{sum(result.rush[kind]) / len(result.rush[kind]):.1f}",
            )
        )
    heads = (
        "",
        "create p50, quiet",
        "p95",
        "beside a rush p50",
        "p95",
        "times",
        "commit p95, quiet / beside",
        "refused",
        "rush/s",
    )
    return [
        "## A calm shop beside another's rush",
        table(heads, rows),
        (
            f"Milliseconds of one shop's checkouts, one each {_EVERY} s, while {_RUSHING_CLIENTS} clients of another"
            " shop make and sell holds as fast as they can. Wanted: create p95 at most three times the quiet one."
        ),
    ]


def plot(result: Fairness, axes: "Axes") -> None:
    """Draw the calm shop's create p95."""
    axes.set_title("Calm shop's create p95 beside a rush, ms")
    for place, kind in enumerate(KINDS):
        for side, answers, colour in ((-0.2, result.quiet, "#b7bcc4"), (0.2, result.beside, "#20639b")):
            label = ("quiet" if side < 0 else "beside a rush") if place == 0 else None
            axes.bar(place + side, percentile(answers[kind].create_ms, 95), 0.38, color=colour, label=label)
    axes.set_xticks(range(len(KINDS)), list(KINDS))
    axes.set_yscale("log")
    axes.legend(frameon=False)


def main() -> None:
    """Print the section."""
    stop_with_sigterm()
    print("\n\n".join(lines(measure(quick="--quick" in sys.argv))))


if __name__ == "__main__":
    main()
