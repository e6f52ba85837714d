"""The measurements, interleaved (product, floor, floor, product) so that drift of the machine affects both."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from bench.load import Job, Kind, Result
from bench.stack import App, Bench, Load
from bench.usage import Memory, cpu_seconds, memory
from core.database import create_engine, fetch
from dev.harness.stock import is_new
from domain.holds import Line, ReserveRequest
from inventory.counts import ItemCount, count_items
from inventory.reserve import reserve

CLIENTS = (1, 16, 64)
HOT_CONNECTIONS = 16


@dataclass(frozen=True)
class Plan:
    """Durations in seconds, and numbers of repetitions."""

    slot: float = 5.0
    warm_up: float = 1.5
    rounds: int = 6
    """Slots of the product and as many of the floor, for each number of clients."""
    validate: float = 10.0
    hot_slot: float = 3.0
    hot_rounds: int = 4
    open_holds: int = 5000
    idle: float = 20.0


QUICK = Plan(slot=2.0, warm_up=0.5, rounds=2, validate=2.0, hot_slot=1.0, hot_rounds=2, open_holds=200, idle=3.0)


@dataclass
class Figures:
    """All measurements."""

    lifecycles: dict[int, dict[str, list[Result]]] = field(default_factory=dict)
    """By clients, then `product` and `floor`: one result a slot, in the order in which they ran."""
    validations: list[Result] = field(default_factory=list)
    hot: dict[str, list[float]] = field(default_factory=dict)
    """`reserve` and `bare`: statements a second, by slot."""
    memory_at_rest: dict[str, Memory] = field(default_factory=dict)
    memory_open: dict[str, Memory] = field(default_factory=dict)
    idle_at_rest: dict[str, float] = field(default_factory=dict)
    idle_open: dict[str, float] = field(default_factory=dict)
    """Percent of a core."""
    opened: Result = field(default_factory=Result)
    items_that_do_not_add_up: int = 0


def _order(rounds: int) -> list[str]:
    """Return the order ABBA: each runs first as often as second."""
    return [name for n in range(rounds) for name in (("product", "floor"), ("floor", "product"))[n % 2]]


def lifecycles(bench: Bench, load: Load, plan: Plan, clients: int) -> dict[str, list[Result]]:
    """Create and commit holds through HTTP, the product and the floor in turns."""
    results: dict[str, list[Result]] = {"product": [], "floor": []}
    turns: dict[str, tuple[Kind, App]] = {"product": ("product", bench.product), "floor": ("floor", bench.floor)}
    for name in _order(plan.rounds):
        kind, app = turns[name]
        job = Job(kind, app.port, app.token, clients, plan.warm_up, plan.slot, pids=bench.pids(app))
        results[name].append(load.run(job))
    return results


def validations(bench: Bench, load: Load, plan: Plan) -> list[Result]:
    """Validate a cart of one line at 16 clients."""
    app = bench.product
    job = Job("validate", app.port, app.token, 16, plan.warm_up, plan.validate / 2, pids=bench.pids(app))
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
    numbers = iter(range(10**9))

    async def product() -> None:
        now = datetime.now(UTC)
        wanted = ReserveRequest(
            shop_id=_HOT_SHOP,
            hold_id=f"hot-{next(numbers)}",
            lines=(Line("PRODUCT", "", 1),),
            created_at=now,
            expires_at=now + timedelta(minutes=20),
            reserve_before=now + timedelta(minutes=1),
            reference=None,
            request_hash=None,
        )
        assert is_new(await reserve(engine, wanted))

    async def bare() -> None:
        assert await fetch(engine, _BARE, {"n": 1, "shop": _HOT_SHOP, "sku": "BARE"})

    steps = {"product": product, "floor": bare}
    for step in steps.values():
        await _rate(step, plan.hot_slot / 3)
    rates: dict[str, list[float]] = {"product": [], "floor": []}
    for name in _order(plan.hot_rounds):
        rates[name].append(await _rate(steps[name], plan.hot_slot))
    await _forget(engine)
    await engine.dispose()
    return {"reserve": rates["product"], "bare": rates["floor"]}


async def _rate(step: Callable[[], Awaitable[None]], seconds: float) -> float:
    done, began = 0, time.perf_counter()

    async def client() -> None:
        nonlocal done
        while time.perf_counter() - began < seconds:
            await step()
            done += 1

    await asyncio.gather(*(client() for _ in range(HOT_CONNECTIONS)))
    return done / (time.perf_counter() - began)


async def _forget(engine: AsyncEngine) -> None:
    """Delete the hot row's holds, which have no workflow."""
    await fetch(engine, 'DELETE FROM "InventoryHold" WHERE "shopId" = %(shop)s', {"shop": _HOT_SHOP})


def hot_row(bench: Bench, plan: Plan) -> dict[str, list[float]]:
    """Reserve one unit of one item repeatedly, interleaved with the bare UPDATE."""
    return asyncio.run(_hot_row(bench, plan))


def open_holds(bench: Bench, load: Load, plan: Plan, figures: Figures) -> None:
    """Restart API and worker, and measure them idle, then with many open holds."""
    app = bench.product
    app.stop()
    app.start()
    load.run(Job("product", app.port, app.token, 4, seconds=2))  # loads what is loaded on first use
    time.sleep(1)
    pids = bench.pids(app)
    figures.idle_at_rest = _idle(pids, plan.idle / 2)
    figures.memory_at_rest = {name: memory(pid) for name, pid in pids.items()}
    figures.opened = load.run(Job("open", app.port, app.token, 16, holds=plan.open_holds, pids=pids))
    time.sleep(min(plan.idle / 4, 5))
    figures.idle_open = _idle(pids, plan.idle)
    figures.memory_open = {name: memory(pid) for name, pid in pids.items()}


def _idle(pids: dict[str, int], seconds: float) -> dict[str, float]:
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    time.sleep(seconds)
    return {name: (cpu_seconds(pid) - before[name]) / seconds * 100 for name, pid in pids.items()}
