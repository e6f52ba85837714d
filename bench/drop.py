"""`python -m bench.drop`: 500 units for 5,000 buyers; and what one row of an item does, against several."""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import uvloop

from bench.flash_sale import stock_item, stock_of
from bench.frame import panels, run_alone, say, started
from bench.report import many, table, targets
from bench.rush import Answers, Rush, rush_for
from bench.stack import Bench
from bench.statements import rate_of, reserving
from core.database import create_engine
from core.settings import Settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS = (1, 2, 8)
_DRIVERS, _CONNECTIONS = 2, 8
_SHOP, _SKU = "drop", "DROP"
_PLENTY = 1_000_000


@dataclass(frozen=True)
class Plan:
    """Sizes, and durations in seconds."""

    units: int = 500
    buyers: int = 5_000
    clients: int = 64
    turn: float = 3.0
    turns: int = 4
    limit: float = 90.0
    """Seconds after which nobody tries to buy any more."""


_QUICK = Plan(units=60, buyers=400, clients=64, turn=0.8, turns=1, limit=5.0)


@dataclass
class Drop:
    """The results."""

    plan: Plan
    rows: dict[int, list[float]] = field(default_factory=dict)
    """Reserves a second by turn, with the units of an item in so many rows: without HTTP and without Temporal."""
    answers: Answers = field(default_factory=Answers)
    striped: Answers = field(default_factory=Answers)
    """The same with the units in eight rows, of which each buyer takes one."""
    left_in_database: int = 0
    held_in_database: int = 0


def measure(quick: bool) -> Drop:
    """Reserve on one row and on several, in turns; then sell the units over HTTP."""
    result = Drop(_QUICK if quick else Plan())
    with started() as (bench, _):
        say("reserves on one row, and on several")
        result.rows = _rates(bench, result.plan)
        say(f"{result.plan.buyers:,} buyers of {result.plan.units} units")
        _sell(bench, result.plan, ["WARM-UP"], units=20, buyers=20)
        result.answers = _sell(bench, result.plan, [_SKU], result.plan.units, result.plan.buyers)
        result.left_in_database, result.held_in_database = stock_of(bench, _SHOP, _SKU)
        say("the same, striped")
        stripes = [f"{_SKU}-{row}" for row in range(ROWS[-1])]
        result.striped = _sell(bench, result.plan, stripes, result.plan.units, result.plan.buyers)
    return result


def _sell(bench: Bench, plan: Plan, skus: Sequence[str], units: int, buyers: int) -> Answers:
    for row, sku in enumerate(skus):
        stock_item(bench, _SHOP, sku, units // len(skus) + (row < units % len(skus)))
    return rush_for(Rush(bench.product.port, bench.product.token, _SHOP, skus, plan.clients, buyers, plan.limit))


def _rates(bench: Bench, plan: Plan) -> dict[int, list[float]]:
    for rows in ROWS:
        for row in range(rows):
            stock_item(bench, _SHOP, _row(rows, row), _PLENTY)
    rates: dict[int, list[float]] = {rows: [] for rows in ROWS}
    context = multiprocessing.get_context("spawn")  # one process of Python would be the limit
    with ProcessPoolExecutor(_DRIVERS, mp_context=context) as drivers:
        for turn in range(-1, plan.turns):
            for rows in ROWS if turn % 2 == 0 else reversed(ROWS):
                driven = [
                    drivers.submit(_drive, bench.product.env["DATABASE_URL"], rows, plan.turn) for _ in range(_DRIVERS)
                ]
                if turn >= 0:  # the first warms up
                    rates[rows].append(sum(each.result() for each in driven))
                else:
                    [each.result() for each in driven]
    return rates


def _row(rows: int, row: int) -> str:
    return f"{rows}-ROWS-{row}"


def _drive(database_url: str, rows: int, seconds: float) -> float:
    async def drive() -> float:
        engine = create_engine(Settings.read({"DATABASE_URL": database_url}), pool_size=_CONNECTIONS)
        step = reserving(engine, _SHOP, [_row(rows, row) for row in range(rows)])
        try:
            return await rate_of(step, _CONNECTIONS, seconds)
        finally:
            await engine.dispose()

    return uvloop.run(drive())


def lines(result: Drop) -> list[str]:
    """Return the section."""
    plan, answers = result.plan, result.answers
    held, failed = answers.count("201"), answers.count("5")
    exact = held == result.held_in_database == plan.units and result.left_in_database == 0
    one = _mean(result.rows[1])
    rows = [
        [
            "1 row" if rows == 1 else f"{rows} rows",
            f"{_mean(rates):.0f}",
            ", ".join(f"{rate:.0f}" for rate in rates),
            f"{_mean(rates) / one:.2f}",
        ]
        for rows, rates in result.rows.items()
    ]
    said = ", ".join(f"{number:,} x {status}" for status, number in sorted(answers.statuses.items()))
    most = plan.units * 9 // 10
    pace, striped = answers.held_a_second(most), result.striped.held_a_second(most)
    return [
        f"## Drop: {plan.units} units, {plan.buyers:,} buyers",
        targets(
            [
                ("units held", str(plan.units), str(held), exact),
                ("answers of 5xx", "0", str(failed), failed == 0),
            ]
        ),
        (
            f"Over HTTP, {many(plan.clients)} at once, each buyer with an `Idempotency-Key`: the first unit was held"
            f" after {min(answers.held_at, default=0.0):.2f} s, the last after {answers.sold_out_at:.2f} s; everybody"
            f" had an answer after {answers.seconds:.1f} s. Answers: {said}. The first {most} units were held at"
            f" {pace:.1f} a second, with the units striped over {ROWS[-1]} rows at {striped:.1f}:"
            f" {striped / pace:.2f} of it."
        ),
        (
            f"The database alone: `inventory.reserve.reserve`, {_DRIVERS} processes with {_CONNECTIONS} connections"
            " each, without HTTP and without Temporal, with the item's units in one row and striped over several:"
        ),
        table(["", "reserves/s", "by turn", "of one row's"], rows),
    ]


def _mean(rates: list[float]) -> float:
    return sum(rates) / len(rates)


def plot(result: Drop, axes: "Axes") -> None:
    """Draw the units held over time, and the reserves of one row against several."""
    left, right = panels(axes, 2, width=12)
    at = sorted(result.answers.held_at)
    left.step([0.0, *at], range(len(at) + 1), where="post", color="#20639b")
    left.set_title(f"Units held over HTTP, of {result.plan.units}, by seconds from the first try")
    for place, rates in enumerate(result.rows.values()):
        right.bar(place, _mean(rates), 0.6, color="#20639b" if place == 0 else "#b7bcc4")
        right.plot([place] * len(rates), rates, ".", color="black", markersize=4)
    right.set_xticks(range(len(result.rows)), ["1 row" if rows == 1 else f"{rows} rows" for rows in result.rows])
    right.set_title("The database alone: reserves a second (dots: turns)")


if __name__ == "__main__":
    run_alone(measure, lines, plot)
