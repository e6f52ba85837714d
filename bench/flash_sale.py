"""`python -m bench.flash_sale`: 100 units, many thousand tries to hold one."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg
from temporalio.client import Client

from bench.figures import percentile
from bench.frame import panels, run_alone, say, started
from bench.load import Job, Result
from bench.report import many, table, targets, unexpected
from bench.rush import Answers, Rush, rush_for
from bench.stack import Bench, Load
from core.database import create_engine
from core.temporal import connect
from inventory.counts import ItemCount, count_items

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CLIENTS = (64, 256)
UNITS = 100
_SHOP = "flash"
_SECONDS_FOR_VISIBILITY = 2.0


@dataclass(frozen=True)
class Plan:
    """Tries for each number of clients, and the seconds of validations before and after them."""

    tries: int = 20_000
    validate: float = 5.0
    warm_up: float = 1.0
    limit: float = 90.0
    """Seconds after which the tries end, whether all were made or not."""


_QUICK = Plan(tries=1_500, validate=1.0, warm_up=0.3, limit=6.0)


@dataclass
class Sale:
    """What happened at one number of clients."""

    answers: Answers
    validations: list[Result] = field(default_factory=list)
    """Before and after the sale."""
    held_in_database: int = 0
    left_in_database: int = 0
    workflows: int = 0
    """How many were started, for holds and for refusals."""

    @property
    def validations_a_second(self) -> float:
        """Plain validations, as many clients."""
        return sum(each.done for each in self.validations) / sum(each.seconds for each in self.validations)

    @property
    def ratio(self) -> float:
        """Refusals of the validations' rate."""
        return self.answers.refusals_a_second / self.validations_a_second


@dataclass
class FlashSale:
    """The sales, by clients."""

    tries: int
    sales: dict[int, Sale]


def measure(quick: bool) -> FlashSale:
    """Sell 100 units at each number of clients, between validations of the same number."""
    plan = _QUICK if quick else Plan()
    with started() as (bench, load):
        load.run(Job("product", bench.product.port, bench.product.token, 4, seconds=1))  # loads what is loaded once
        return FlashSale(plan.tries, {clients: _sale(bench, load, plan, clients) for clients in CLIENTS})


def _sale(bench: Bench, load: Load, plan: Plan, clients: int) -> Sale:
    say(f"{plan.tries:,} tries, {many(clients)}")
    app, sku = bench.product, f"FLASH-{clients}"
    stock_item(bench, _SHOP, sku, UNITS)
    validate = Job("validate", app.port, app.token, clients, plan.warm_up, plan.validate)
    before, workflows = load.run(validate), count_workflows(bench)
    sale = Sale(rush_for(Rush(app.port, app.token, _SHOP, [sku], clients, plan.tries, plan.limit)))
    sale.validations = [before, load.run(validate)]
    sale.left_in_database, sale.held_in_database = stock_of(bench, _SHOP, sku)
    sale.workflows = count_workflows(bench) - workflows
    return sale


def stock_item(bench: Bench, shop: str, sku: str, units: int) -> None:
    """Put the units of a new item on the shelf."""

    async def stock() -> None:
        engine = create_engine(bench.settings)
        await count_items(engine, shop, [ItemCount(sku, "", units)], actor="bench")
        await engine.dispose()

    asyncio.run(stock())


def stock_of(bench: Bench, shop: str, sku: str) -> tuple[int, int]:
    """Return the item's available units, and those of its active holds."""
    statement = """
    SELECT (SELECT quantity FROM "InventoryItem" WHERE "shopId" = %(shop)s AND sku = %(sku)s),
           (SELECT coalesce(sum(l.quantity), 0) FROM "InventoryHoldItem" l
            JOIN "InventoryHold" h ON h."shopId" = l."shopId" AND h.id = l."holdId" AND h.status = 'active'
            WHERE l."shopId" = %(shop)s AND l.sku = %(sku)s)
    """
    with psycopg.connect(bench.database_url) as connection:
        row = connection.execute(statement, {"shop": shop, "sku": sku}).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def count_workflows(bench: Bench) -> int:
    """Return how many workflows of holds there are, running or closed."""

    async def number() -> int:
        client: Client = await connect(None, environment={"TEMPORAL_ADDRESS": bench.temporal.address})
        count, before = 0, -1
        while count != before:  # the list of workflows is behind the workflows
            await asyncio.sleep(_SECONDS_FOR_VISIBILITY)
            before, count = count, (await client.count_workflows("WorkflowType = 'HoldWorkflow'")).count
        return count

    return asyncio.run(number())


def lines(result: FlashSale) -> list[str]:
    """Return the section."""
    rows = []
    for clients, sale in result.sales.items():
        answers = sale.answers
        rows.append(
            [
                many(clients),
                f"{sale.held_in_database} held, {sale.left_in_database} left",
                f"{min(answers.held_at, default=0):.2f} / {answers.sold_out_at:.2f}",
                f"{answers.refusals_a_second:.0f}",
                f"{sale.validations_a_second:.0f}",
                f"{percentile(answers.refused_ms, 50):.0f} / {percentile(answers.refused_ms, 95):.0f}",
                f"{sale.workflows}",
                ", ".join(f"{number:,} x {status}" for status, number in sorted(answers.statuses.items())),
            ]
        )
    heads = ["", "units", "first / last unit held after, s", "refusals/s, once sold out", "validations/s"]
    heads += ["refusal p50 / p95 ms", "workflows started", "answers"]
    validations = [each for sale in result.sales.values() for each in sale.validations]
    return [
        f"## Flash sale: {UNITS} units, {result.tries:,} tries",
        (
            "Every try is a request of its own, with an `Idempotency-Key` of its own. A client tries again when it has"
            " its answer, after a 429 when that says so. Validations run before and after, with as many clients."
        ),
        targets(row for clients, sale in result.sales.items() for row in _targets(clients, sale)),
        table(heads, rows),
        unexpected(validations).replace("Answers", "Answers to validations"),
    ]


def _targets(clients: int, sale: Sale) -> list[tuple[str, str, str, bool]]:
    held, failed = sale.answers.count("201"), sale.answers.count("5")
    exact = held == sale.held_in_database == UNITS and sale.left_in_database == 0
    return [
        (f"units held, {many(clients)}", str(UNITS), str(held), exact),
        (f"refusals/s of the validations/s, {many(clients)}", "≥ 0.50", f"{sale.ratio:.2f}", sale.ratio >= 0.5),
        (f"answers of 5xx, {many(clients)}", "0", str(failed), failed == 0),
        (
            f"workflows for each unit held, {many(clients)}",
            "< 3",
            f"{sale.workflows / UNITS:.1f}",
            sale.workflows < 3 * UNITS,
        ),
    ]


def plot(result: FlashSale, axes: "Axes") -> None:
    """Draw the units held over time, and beside it the rate of refusals and of validations."""
    left, right = panels(axes, 2, width=12)
    for (clients, sale), colour in zip(result.sales.items(), ("#20639b", "#f6a04d"), strict=True):
        at = sorted(sale.answers.held_at)
        left.step([0.0, *at], range(len(at) + 1), where="post", color=colour, label=many(clients))
    left.set_title(f"Units held, of {UNITS}, by seconds from the first try")
    left.legend(frameon=False, loc="lower right")
    for place, sale in enumerate(result.sales.values()):
        label = place == 0
        right.bar(place - 0.2, sale.answers.refusals_a_second, 0.38, color="#20639b", label="refusals" * label)
        right.bar(place + 0.2, sale.validations_a_second, 0.38, color="#b7bcc4", label="validations" * label)
        top = max(sale.answers.refusals_a_second, sale.validations_a_second)
        right.annotate(f"{sale.ratio:.2f}", (place, top * 1.03), ha="center", weight="bold")
    right.set_xticks(range(len(result.sales)), [many(clients) for clients in result.sales])
    right.set_title("A second, once sold out (bold: ratio)")
    right.set_ylim(top=right.get_ylim()[1] * 1.2)
    right.legend(frameon=False)


if __name__ == "__main__":
    run_alone(measure, lines, plot)
