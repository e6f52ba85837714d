"""Records histories of the background worker's workflows: `python -m tests.replay.record_background`.

Run it once for each release that changes them. Histories of earlier releases stay and are replayed too.
"""

import asyncio
import re
import socket
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
from temporalio.client import WorkflowHandle

from cli.migrate import migrate
from core.database import fetch
from dev.postgres import EmbeddedPostgres
from holds.event_delivery import background_task_queue
from tests.paying import running_shop
from tests.payments.endings import lose_webhooks
from tests.receivers import Receiver, receiving
from tests.stack import SHOP, Stack
from tests.workflow.conftest import telling_stack
from tests.workflow.test_audit import audited
from tests.workflow.test_low_stock import DAY, WINDOW, alerting_on, own_temporal
from workflows.deliveries import hold_events_workflow_id
from workflows.payment_reconciliation import PaymentReconciliationWorkflow, ReconcileRequest

HISTORIES = Path(__file__).parent / "background"


async def _json(handle: WorkflowHandle[Any, Any]) -> str:
    """Return the history without what tells of the machine it was recorded on."""
    history = (await handle.fetch_history()).to_json()
    history = re.sub(r'"stackTrace": "(\\.|[^"\\])*"', '"stackTrace": ""', history)
    return re.sub(rf"\d+@{re.escape(socket.gethostname())}", "recorder", history)


async def _audits(stack: Stack) -> dict[str, str]:
    stories = {}
    hold = await stack.made(("TEE", 1))
    for name in ("audit-clean", "audit-with-findings"):
        await audited(stack)
        found = [w async for w in stack.temporal.list_workflows("WorkflowType = 'AuditWorkflow'")]
        while not found:
            found = [w async for w in stack.temporal.list_workflows("WorkflowType = 'AuditWorkflow'")]
        newest = max(found, key=lambda w: w.start_time)
        stories[name] = await _json(stack.temporal.get_workflow_handle(newest.id, run_id=newest.run_id))
        await fetch(stack.engine, 'UPDATE "InventoryItem" SET held = held + 1', {})
        await stack.run_of(hold["holdId"]).terminate()
        await asyncio.sleep(2)  # the list of workflows lags
    return stories


async def _events(stack: Stack, receiver: Receiver) -> dict[str, str]:
    hold = await stack.made()
    receiver.answer = lambda _: 500 if len(receiver.attempts) == 0 else 200
    await stack.post(hold["holdId"], "commit")
    handle = stack.temporal.get_workflow_handle(hold_events_workflow_id(SHOP, hold["holdId"]))
    await receiver.until(2)
    await handle.result()
    return {"events-delivered": await _json(handle)}


async def _payments(database: str) -> dict[str, str]:
    stories = {}
    async with own_temporal() as environment, running_shop(database, environment.client) as shop:
        await lose_webhooks(shop)
        await shop.stripe.control("/clock", advance=-3600)  # what was just paid is left to its event
        for name in ("payments-with-findings", "payments-quiet"):
            if name == "payments-with-findings":
                await shop.pay((await shop.checkout())["checkoutSessionId"])
            handle = await environment.client.start_workflow(
                PaymentReconciliationWorkflow.run,
                ReconcileRequest(lookback_seconds=86_400),
                id=name,
                task_queue=background_task_queue(shop.stack.task_queue),
            )
            await handle.result()
            stories[name] = await _json(handle)
    return stories


async def _low_stock(database: str) -> dict[str, str]:
    stories = {}
    async with (
        own_temporal() as environment,
        alerting_on(database, environment.client, environment, window=WINDOW) as alerting,
    ):
        await alerting.put(4)
        await alerting.noticed(1)
        await alerting.pass_time(WINDOW)
        await alerting.box.until(1)
        await alerting.receiver.until(1)
        stories["low-stock-digest-quiet"] = await _json(alerting.run)
        await alerting.put(10)
        await alerting.put(3)
        await alerting.noticed(2)
        await alerting.pass_time(DAY + 60)
        await alerting.box.until(2)
        await alerting.receiver.until(2)
        await alerting.pass_time(DAY + 60)
        await alerting.run.result()
        stories["low-stock-digest-twice"] = await _json(alerting.run)
    return stories


async def _record(database: str) -> dict[str, str]:
    async with (
        own_temporal() as environment,
        receiving() as receiver,
        telling_stack(database, environment.client, receiver) as stack,
    ):
        await stack.put(10)
        stories = await _events(stack, receiver) | await _audits(stack)
    await _reset(database)
    stories |= await _payments(database)
    await _reset(database)
    return stories | await _low_stock(database)


async def _reset(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(
            'TRUNCATE "InventoryItem", "InventoryHold", "InventoryHoldItem", "InventoryMovement" CASCADE'
        )


def record(folder: Path) -> None:
    """Run every story on servers of their own and write its history."""
    with tempfile.TemporaryDirectory() as scratch:
        postgres = EmbeddedPostgres(Path(scratch) / "pg")
        postgres.start()
        try:
            migrate(postgres.url)
            histories = asyncio.run(_record(postgres.url))
        finally:
            postgres.stop()
    folder.mkdir(parents=True, exist_ok=True)
    for name, history in histories.items():
        (folder / f"{name}.json").write_text(history + "\n")


if __name__ == "__main__":
    record(HISTORIES / version("holdfast"))
