"""After the shoppers have gone home: was all that they were told true, and does the stock add up?"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from core.database import fetch
from tests.chaos.shoppers import ITEMS, Told
from tests.e2e.deployment import until
from tests.invariants import broken_rules
from tests.stock import stock_of
from workflows.hold import HoldWorkflow
from workflows.messages import hold_workflow_id

OVERDUE_SECONDS = 30
"""How long after its deadline a hold may still be active, once everything runs."""

_HOLDS = """
SELECT id, status, extract(epoch FROM clock_timestamp() - "expiresAt") AS overdue,
       extract(epoch FROM "expiredAt" - "expiresAt") AS lag
FROM "InventoryHold" WHERE "shopId" = %(shop)s
"""

_SOLD = """
SELECT l.sku, sum(l.quantity) AS units FROM "InventoryHoldItem" l
JOIN "InventoryHold" h ON h."shopId" = l."shopId" AND h.id = l."holdId"
WHERE h."shopId" = %(shop)s AND h.status = 'committed' GROUP BY l.sku
"""


@dataclass(frozen=True)
class Reckoning:
    """What has become of a shop's holds, and what is not as it must be."""

    ends: Mapping[str, str]
    """How each hold has ended."""
    longest_lag: float
    """Seconds from a deadline to its expiry, at most."""
    complaints: list[str]
    """A line each; none where nothing is lost."""


async def reckon(engine: AsyncEngine, temporal: Client, shop: str, told: Told) -> Reckoning:
    """Wait until every hold has ended, or is overdue, and compare holds, workflows and stock with what was told."""
    complaints = [f"answered what nobody should get: {offence}" for offence in told.offences]
    ends, lag, stuck = await _ends_of(engine, shop)
    complaints += [f"stuck past its deadline: {hold_id}" for hold_id in stuck]
    complaints += [f"acknowledged and not there: {hold_id}" for hold_id in told.lines if hold_id not in ends]
    complaints += [
        f"told otherwise: {hold_id} is {ends.get(hold_id)}, and was {sorted(said)}"
        for hold_id, said in told.ends.items()
        if said != {ends.get(hold_id)}
    ]
    complaints += await _unfinished(temporal, shop)
    complaints += await _disagreeing(temporal, shop, {} if stuck else ends)
    complaints += await broken_rules(engine)
    complaints += await _not_sold_as_told(engine, shop)
    return Reckoning(ends, lag, complaints)


async def _ends_of(engine: AsyncEngine, shop: str) -> tuple[dict[str, str], float, list[str]]:
    everything_runs_since = time.monotonic()
    while True:
        holds = await fetch(engine, _HOLDS, {"shop": shop})
        active = [hold for hold in holds if hold["status"] == "active"]
        running = time.monotonic() - everything_runs_since
        stuck = [hold["id"] for hold in active if min(float(hold["overdue"]), running) > OVERDUE_SECONDS]
        if stuck or not active:
            lags = [float(hold["lag"]) for hold in holds if hold["lag"] is not None]
            return {hold["id"]: hold["status"] for hold in holds}, max(lags, default=0.0), stuck
        await asyncio.sleep(0.25)


async def _unfinished(temporal: Client, shop: str) -> list[str]:
    """Wait until no workflow is open. None has failed: it would have left its hold to nobody."""

    async def all_closed() -> bool:
        runs = await temporal.count_workflows(f"ShopId = '{shop}' AND ExecutionStatus = 'Running'")
        return runs.count == 0

    await until(all_closed, "every workflow has ended", pause=0.2)
    others = temporal.list_workflows(f"ShopId = '{shop}' AND ExecutionStatus != 'Completed'")
    return [f"workflow not completed: {run.id} {run.status!r}" async for run in others]


async def _disagreeing(temporal: Client, shop: str, ends: Mapping[str, str]) -> list[str]:
    """Compare the end that each hold's workflow reports with the one that the database has."""
    complaints = []
    for hold_id, status in ends.items():
        handle = temporal.get_workflow_handle_for(HoldWorkflow.run, hold_workflow_id(shop, hold_id))
        reported = (await handle.result()).status
        if reported != status:
            complaints.append(f"{hold_id} is {status}, and its workflow reports {reported}")
    return complaints


async def _not_sold_as_told(engine: AsyncEngine, shop: str) -> list[str]:
    """Check the stock against the holds, by sums of our own."""
    units = {row["sku"]: row["units"] for row in await fetch(engine, _SOLD, {"shop": shop})}
    complaints = []
    for sku, on_hand in ITEMS.items():
        found, wanted = await stock_of(engine, sku, shop=shop), (on_hand - units.get(sku, 0), 0)
        if found != wanted:
            complaints.append(f"{sku}: {found} for sale and held, where the holds leave {wanted}")
    return complaints
