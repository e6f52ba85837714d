"""Compares what the shoppers were answered with holds, workflows and stock once all holds have ended."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from core.database import fetch
from dev.harness.invariants import broken_rules
from dev.harness.shoppers import ITEMS, ShopperLog
from dev.harness.stock import stock_of
from workflows.hold import HoldWorkflow
from workflows.messages import hold_workflow_id

OVERDUE_SECONDS = 30
"""How many seconds after its deadline a hold may still be active while everything runs."""

_CLOSE_SECONDS = 60

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
class Reconciliation:
    """The final state of a shop's holds, and every violation found."""

    ends: Mapping[str, str]
    """Final status by hold id."""
    longest_lag: float
    """The most seconds between a deadline and its expiry."""
    violations: list[str]
    """One line each; empty if everything agrees."""


async def reconcile(engine: AsyncEngine, temporal: Client, shop: str, log: ShopperLog) -> Reconciliation:
    """Wait until every hold has ended, or is overdue, and compare holds, workflows and stock with the log."""
    violations = [f"unexpected answer: {answer}" for answer in log.unexpected_answers]
    ends, lag, stuck = await _ends_of(engine, shop)
    violations += [f"stuck past its deadline: {hold_id}" for hold_id in stuck]
    violations += [f"acknowledged but missing: {hold_id}" for hold_id in log.lines if hold_id not in ends]
    violations += [
        f"reported as {sorted(said)}, is {ends.get(hold_id)}: {hold_id}"
        for hold_id, said in log.ends.items()
        if said != {ends.get(hold_id)}
    ]
    violations += await _unfinished(temporal, shop)
    violations += await _different_ends(temporal, shop, {} if stuck else ends)
    violations += await broken_rules(engine)
    violations += await _wrong_stock(engine, shop)
    return Reconciliation(ends, lag, violations)


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
    """Wait until no workflow is open, and return those that did not complete: each leaves a hold without one."""
    running = f"ShopId = '{shop}' AND ExecutionStatus = 'Running'"
    async with asyncio.timeout(_CLOSE_SECONDS):
        while (await temporal.count_workflows(running)).count:
            await asyncio.sleep(0.2)
    others = temporal.list_workflows(f"ShopId = '{shop}' AND ExecutionStatus != 'Completed'")
    return [f"workflow not completed: {run.id} {run.status!r}" async for run in others]


async def _different_ends(temporal: Client, shop: str, ends: Mapping[str, str]) -> list[str]:
    """Compare the final status of each workflow with that of its row."""
    violations = []
    for hold_id, status in ends.items():
        handle = temporal.get_workflow_handle_for(HoldWorkflow.run, hold_workflow_id(shop, hold_id))
        reported = (await handle.result()).status
        if reported != status:
            violations.append(f"{hold_id} is {status}, and its workflow reports {reported}")
    return violations


async def _wrong_stock(engine: AsyncEngine, shop: str) -> list[str]:
    """Compare the stock with the sums of the committed holds."""
    units = {row["sku"]: row["units"] for row in await fetch(engine, _SOLD, {"shop": shop})}
    violations = []
    for sku, on_hand in ITEMS.items():
        found, wanted = await stock_of(engine, sku, shop=shop), (on_hand - units.get(sku, 0), 0)
        if found != wanted:
            violations.append(f"{sku}: {found} available and held, expected {wanted}")
    return violations
