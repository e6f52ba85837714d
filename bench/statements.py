"""`python -m bench.statements`: validations over HTTP, and reserves of one row against the bare statement."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncEngine

from bench.figures import alternating, percentile
from bench.frame import run_alone, say, started
from bench.load import Job, Result
from bench.report import table, targets, unexpected
from bench.stack import Bench, Load
from core.database import create_engine, fetch
from dev.harness.stock import is_new
from domain.holds import Line, ReserveRequest
from inventory.counts import ItemCount, count_items
from inventory.reserve import reserve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CLIENTS = 16
HOT_CONNECTIONS = 16


@dataclass(frozen=True)
class Plan:
    """Durations in seconds, and turns."""

    warm_up: float = 1.5
    validate: float = 10.0
    hot_turn: float = 3.0
    hot_turns: int = 4


_QUICK = Plan(warm_up=0.5, validate=2.0, hot_turn=1.0, hot_turns=1)


@dataclass
class Statements:
    """The results."""

    validations: list[Result]
    hot: dict[str, list[float]]
    """`reserve` and `bare`: statements a second, by turn."""


def measure(quick: bool) -> Statements:
    """Validate a cart of one line, then reserve one unit of one item repeatedly."""
    plan = _QUICK if quick else Plan()
    with started() as (bench, load):
        say("validations")
        validations = _validations(bench, load, plan)
        say("reserves on a hot row")
        return Statements(validations, asyncio.run(_hot_row(bench, plan)))


def _validations(bench: Bench, load: Load, plan: Plan) -> list[Result]:
    app = bench.product
    job = Job("validate", app.port, app.token, CLIENTS, plan.warm_up, plan.validate / 2, pids=bench.pids(app))
    return [load.run(job) for _ in range(2)]


_BARE = """
UPDATE "InventoryItem" SET quantity = quantity - %(n)s, held = held + %(n)s
WHERE "shopId" = %(shop)s AND sku = %(sku)s AND "variantKey" = '' AND quantity >= %(n)s
RETURNING quantity
"""
_HOT_SHOP = "hot"


async def _hot_row(bench: Bench, plan: Plan) -> dict[str, list[float]]:
    engine = create_engine(bench.settings, pool_size=HOT_CONNECTIONS)
    counts = [ItemCount(sku, "", 1_000_000) for sku in ("PRODUCT", "BARE")]
    await count_items(engine, _HOT_SHOP, counts, actor="bench")

    async def bare() -> None:
        assert await fetch(engine, _BARE, {"n": 1, "shop": _HOT_SHOP, "sku": "BARE"})

    steps = {"product": reserving(engine, _HOT_SHOP, ["PRODUCT"]), "floor": bare}
    for step in steps.values():
        await rate_of(step, HOT_CONNECTIONS, plan.hot_turn / 3)
    rates: dict[str, list[float]] = {"product": [], "floor": []}
    for name in alternating(plan.hot_turns):
        rates[name].append(await rate_of(steps[name], HOT_CONNECTIONS, plan.hot_turn))
    await _forget(engine)
    await engine.dispose()
    return {"reserve": rates["product"], "bare": rates["floor"]}


def reserving(engine: AsyncEngine, shop: str, skus: Sequence[str]) -> Callable[[], Awaitable[None]]:
    """Return a step that reserves a unit of one of the items, each in its turn."""
    run, numbers = time.time_ns(), count()

    async def reserve_one() -> None:
        now, number = datetime.now(UTC), next(numbers)
        wanted = ReserveRequest(
            shop_id=shop,
            hold_id=f"hot-{run}-{number}",
            lines=(Line(skus[number % len(skus)], "", 1),),
            created_at=now,
            expires_at=now + timedelta(minutes=20),
            reserve_before=now + timedelta(minutes=1),
            reference=None,
            request_hash=None,
        )
        assert is_new(await reserve(engine, wanted))

    return reserve_one


async def rate_of(step: Callable[[], Awaitable[None]], clients: int, seconds: float) -> float:
    """Return how often a second the clients together take the step."""
    done, began = 0, time.perf_counter()

    async def client() -> None:
        nonlocal done
        while time.perf_counter() - began < seconds:
            await step()
            done += 1

    await asyncio.gather(*(client() for _ in range(clients)))
    return done / (time.perf_counter() - began)


async def _forget(engine: AsyncEngine) -> None:
    """Delete the hot row's holds, which have no workflow."""
    await fetch(engine, 'DELETE FROM "InventoryHold" WHERE "shopId" = %(shop)s', {"shop": _HOT_SHOP})


def lines(result: Statements) -> list[str]:
    """Return the section."""
    samples = _samples(result)
    per_second = sum(r.done for r in result.validations) / sum(r.seconds for r in result.validations)
    p50, p95, p99 = (percentile(samples, p) for p in (50, 95, 99))
    hot, bare = (sum(values) / len(values) for values in (result.hot["reserve"], result.hot["bare"]))
    rows = [
        (f"validations/s, {CLIENTS} clients, one line, over HTTP", f"{per_second:.0f}"),
        ("validate p50 / p95 / p99 ms", f"{p50:.1f} / {p95:.1f} / {p99:.1f}"),
        (f"`inventory.reserve.reserve` on one row, {HOT_CONNECTIONS} connections, a second", f"{hot:.0f}"),
        ("the bare statement on one row, as many connections, a second", f"{bare:.0f}"),
        ("reserve of the bare statement's rate", f"{hot / bare:.2f}"),
    ]
    note = (
        "The bare statement is one `UPDATE ... SET quantity = quantity - 1, held = held + 1 WHERE <key> AND"
        " quantity >= 1 RETURNING quantity`: no hold, no line, nothing to repeat by. Both go through the same engine,"
        " in turns, without HTTP and without Temporal, in one Python process."
    )
    return [
        "## Validate, and a hot row",
        targets([(f"validate p95, {CLIENTS} clients", "< 10 ms", f"{p95:.1f} ms", p95 < 10)]),
        table(["", "measured"], rows),
        note,
        unexpected(result.validations),
    ]


def _samples(result: Statements) -> list[float]:
    return [ms for each in result.validations for ms in each.create_ms]


def plot(result: Statements, axes: "Axes") -> None:
    """Draw the statements a second, each turn as a dot."""
    bars = {
        "validations\nover HTTP": [each.done / each.seconds for each in result.validations],
        "reserves\nof one row": result.hot["reserve"],
        "bare statement\non one row": result.hot["bare"],
    }
    for place, (label, rates) in enumerate(bars.items()):
        colour = "#b7bcc4" if label.startswith("bare") else "#20639b"
        axes.bar(place, sum(rates) / len(rates), 0.6, color=colour)
        axes.plot([place] * len(rates), rates, ".", color="black", markersize=4)
    axes.set_xticks(range(len(bars)), list(bars))
    axes.set_title(f"A second, {CLIENTS} clients (dots: turns)")


if __name__ == "__main__":
    run_alone(measure, lines, plot)
