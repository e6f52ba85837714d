"""`python -m bench.due [--quick]`: many holds due in one second, and checkouts beside their ends."""

import asyncio
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from bench.caller import Answers, Caller
from bench.figures import percentile
from bench.frame import stop_with_sigterm
from bench.load import SHOP
from bench.report import MARKS, table
from bench.stack import Bench, running
from core.settings import MIN_TTL_SECONDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CALLERS = 6
"""As many as the API lets in at a time; more would only be told to come again."""
_AGAIN_SECONDS = 0.2
_OPENED_A_SECOND = 35
"""At least; the deadline is as far away as making the holds takes, and then as long as the shortest hold lives."""
_EVERY = 0.28
"""Seconds between two checkouts: a tenth of the capacity of two cores."""
_BOUND_SECONDS = 30.0
"""Of 2,000 holds."""


@dataclass(frozen=True)
class Due:
    """The ends of that many holds that were due in one second, and the checkouts before and beside them."""

    holds: int
    left: list[tuple[float, int]]
    """Seconds after the deadline, and how many holds had not ended."""
    quiet: Answers
    beside: Answers

    @property
    def seconds(self) -> float:
        """How long after the deadline the last hold ended."""
        return self.left[-1][0]

    @property
    def times_slower(self) -> float:
        """p95 of a create beside the ends, over that of a quiet one."""
        return percentile(self.beside.create_ms, 95) / percentile(self.quiet.create_ms, 95)


def measure(*, quick: bool, holds: tuple[int, ...] = ()) -> list[Due]:
    """Let holds come due together, each number on a stack of its own."""
    return [_measured(number) for number in holds or ((100,) if quick else (2000, 10_000))]


def _measured(holds: int) -> Due:
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
        Path(folder).chmod(0o755)
        with running(Path(folder), floor=False) as (bench, _):
            return asyncio.run(_measure(bench, holds))


async def _measure(bench: Bench, holds: int) -> Due:
    due_at = await _open(bench, holds)
    caller, quiet, beside = Caller(bench.product), Answers(), Answers()
    await caller.buy_while(quiet, lambda: time.time() < due_at - 0.5, _EVERY)
    await asyncio.sleep(max(0.0, due_at - time.time()))
    left = [(0.0, holds)]
    buying = asyncio.create_task(caller.buy_while(beside, lambda: left[-1][1] > 0, _EVERY))
    with psycopg.connect(bench.database_url, autocommit=True) as connection:
        while left[-1][1] > 0:
            await asyncio.sleep(0.25)
            row = connection.execute(_LEFT, {"shop": SHOP}).fetchone()
            assert row is not None
            left.append((time.time() - due_at, int(row[0])))
    await buying
    caller.close()
    return Due(holds, left, quiet, beside)


_LEFT = """
SELECT count(*) FROM "InventoryHold" WHERE "shopId" = %(shop)s AND id LIKE 'due-%%' AND status = 'active'
"""


async def _open(bench: Bench, holds: int) -> float:
    """Make holds. Returns when they are due."""
    due_at = time.time() + holds / _OPENED_A_SECOND + MIN_TTL_SECONDS
    numbers = iter(range(holds))

    async def some() -> None:
        caller = Caller(bench.product)
        for _ in numbers:
            hold_id = f"due-{uuid.uuid4().hex}"
            made = None
            while made is None:
                made = await caller.create(Answers(), holdId=hold_id, ttlSeconds=_seconds_until(due_at))
                await asyncio.sleep(_AGAIN_SECONDS if made is None else 0)
        caller.close()

    await asyncio.gather(*(some() for _ in range(_CALLERS)))
    return due_at


def _seconds_until(due_at: float) -> int:
    return max(round(due_at - time.time()), MIN_TTL_SECONDS)


def lines(results: list[Due]) -> list[str]:
    """Return the section of the report."""
    rows = []
    for due in results:
        bound = _BOUND_SECONDS * max(due.holds / 2000, 1)
        p95 = [
            f"{percentile(each.create_ms, 95):.0f} / {percentile(each.commit_ms, 95):.0f}"
            for each in (due.quiet, due.beside)
        ]
        rows.append(
            (
                f"{due.holds:,}",
                f"{due.seconds:.1f} s {MARKS[due.seconds <= bound]}",
                f"{due.holds / due.seconds:.0f}",
                *p95,
                f"{due.times_slower:.1f} {MARKS[due.times_slower <= 3]}",
                f"{due.beside.refused.total()} {MARKS[not due.beside.refused]}",
            )
        )
    heads = (
        "holds due in one second",
        "settled in",
        "a second",
        "create / commit p95 before, ms",
        "beside",
        "times",
        "refused",
    )
    return [
        "## Due at once",
        table(heads, rows),
        (
            f"Wanted: {_BOUND_SECONDS:.0f} s for each 2,000, creates at most three times as slow as before, none"
            f" refused. The checkouts are made and sold one after another, one each {_EVERY} s."
        ),
    ]


def plot(results: list[Due], axes: "Axes") -> None:
    """Draw how many holds are left."""
    axes.set_title("Holds due in one second: share not ended")
    for due, colour in zip(results, ("#20639b", "#f6a04d"), strict=False):
        seconds, left = zip(*due.left, strict=True)
        axes.plot(seconds, [number / due.holds for number in left], color=colour, label=f"{due.holds:,} holds")
    axes.set_xlabel("seconds after the deadline")
    axes.set_ylim(0, 1)
    axes.legend(frameon=False)


def main() -> None:
    """Print the section."""
    stop_with_sigterm()
    numbers = tuple(int(argument) for argument in sys.argv[1:] if argument.isdigit())
    print("\n\n".join(lines(measure(quick="--quick" in sys.argv, holds=numbers))))


if __name__ == "__main__":
    main()
