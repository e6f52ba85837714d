"""The audit of a database that was restored: what Temporal remembers and the database does not is done again."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from holds.audit_workflows import RunAuditor
from holds.starting import start_options
from tests.invariants import assert_stock_adds_up
from tests.stack import SHOP, Stack
from tests.workflow.test_audit import audited, auditor, by_hand, listed
from workflows.hold import HoldWorkflow
from workflows.messages import Ended, HoldInput, Line

# What a restore to an earlier moment does to one hold of a unit of TEE.
FORGET_THE_END = """
UPDATE "InventoryHold" SET status = 'active', "committedAt" = NULL, "releasedAt" = NULL WHERE id = '{hold}';
UPDATE "InventoryItem" SET held = held + 1, quantity = 10 - held - 1 WHERE sku = 'TEE';
DELETE FROM "InventoryMovement" WHERE "holdId" = '{hold}';
"""
FORGET_THE_HOLD = """
DELETE FROM "InventoryHold" WHERE id = '{hold}';
UPDATE "InventoryItem" SET held = 0, quantity = 10 WHERE sku = 'TEE';
DELETE FROM "InventoryMovement" WHERE "holdId" = '{hold}';
"""


async def restored(stack: Stack, statements: str, hold_id: str) -> None:
    for statement in filter(str.strip, statements.format(hold=hold_id).split(";")):
        await by_hand(stack, statement)


@pytest.mark.parametrize(
    ("verb", "status", "stock"), [("commit", "committed", (9, 0)), ("release", "released", (10, 0))]
)
async def test_an_end_that_a_restored_database_has_forgotten_is_repeated(
    stack: Stack, verb: str, status: str, stock: tuple[int, int]
) -> None:
    hold_id = (await stack.made())["holdId"]
    await stack.post(hold_id, verb)
    await stack.run_of(hold_id).result()
    await restored(stack, FORGET_THE_END, hold_id)
    assert await stack.stock_of() == (9, 1)

    report = await audited(stack)

    assert report.found == {"lost_run": 1}
    assert f"active, but its workflow had ended it as {status}" in report.first[0].sentence
    assert (await stack.run_of(hold_id).result()).status == status
    assert (await stack.read(hold_id))["reason"] == "restored"
    assert await stack.stock_of() == stock
    await assert_stock_adds_up(stack.engine)


async def test_a_run_whose_hold_has_no_row_is_astray_unless_it_has_just_begun(stack: Stack) -> None:
    hold_id = (await stack.made())["holdId"]
    await listed(stack, hold_id)
    await restored(stack, FORGET_THE_HOLD, hold_id)

    assert await auditor(stack).look(SHOP) == (0, [], [])
    later = auditor(stack)
    later.beginning = timedelta()
    _, _, (stray,) = await later.look(SHOP)
    assert (stray.hold_id, stray.status) == (hold_id, None)
    assert await later.end(stray) is None
    assert await stack.run_of(hold_id).result() == Ended("missing")
    assert await stack.stock_of() == (10, 0)


async def test_a_run_that_waits_for_a_worker_is_not_astray(stack: Stack) -> None:
    waiting = HoldInput(SHOP, "waiting", [Line("TEE", "", 1)], 600, 3600, request_timeout_ms=5000)
    queue = f"nobody-polls-{uuid.uuid4().hex}"
    await stack.temporal.start_workflow(HoldWorkflow.run, waiting, task_queue=queue, **start_options(waiting))
    await listed(stack, "waiting")
    later = RunAuditor(stack.engine, stack.temporal, stack.settings, task_queue=queue)
    later.beginning = timedelta()
    assert await later.look(SHOP) == (0, [], [])
    await stack.run_of("waiting").terminate()


@pytest.mark.parametrize(("left", "status", "stock"), [(1, "committed", (0, 0)), (0, "rejected", (0, 0))])
async def test_a_sale_that_a_restored_database_has_forgotten_is_repeated_where_there_is_stock(
    stack: Stack, left: int, status: str, stock: tuple[int, int]
) -> None:
    since = datetime.now(UTC) - timedelta(seconds=2)
    hold_id = (await stack.made(reference="order-7"))["holdId"]
    await stack.post(hold_id, "commit")
    await stack.run_of(hold_id).result()
    await restored(stack, FORGET_THE_HOLD, hold_id)
    await stack.put(left)
    while not (found := await auditor(stack).lost_sales(since, SHOP)):  # the list of workflows lags
        await asyncio.sleep(0.05)

    assert await auditor(stack).lost_sales(datetime.now(UTC) + timedelta(minutes=1), SHOP) == []
    assert await auditor(stack).sell_again(found[0]) is None
    assert await stack.run_of(hold_id).result() == Ended(status)  # type: ignore[arg-type]

    assert await stack.stock_of() == stock
    assert len(await auditor(stack).lost_sales(since, SHOP)) == (status == "rejected")
    if status == "committed":
        assert (await stack.read(hold_id))["reference"] == "order-7"
    await assert_stock_adds_up(stack.engine)
