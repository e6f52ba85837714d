"""After a restore of the database, the audit repeats what Temporal remembers and the database does not contain."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from dev.harness.invariants import assert_stock_adds_up
from domain.holds import Line
from holds.audit_model import Repair, WorkflowAudit
from holds.audit_workflows import WorkflowAuditor
from holds.lost_sales import LostSales
from holds.start_options import start_options
from inventory.holds import read_hold
from tests.stack import SHOP, Stack
from tests.workflow.test_audit import audited, auditor, by_hand, listed
from workflows.hold import HoldWorkflow
from workflows.messages import Ended, HoldInput

NOTHING = WorkflowAudit(0, [], [])

# The effect of a restore to an earlier time on a hold of one TEE.
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


@pytest.fixture
async def stack(own_stack: Stack) -> Stack:
    """A product for each test: an audit looks at all workflows of its task queue."""
    return own_stack


async def restored(stack: Stack, statements: str, hold_id: str) -> None:
    for statement in filter(str.strip, statements.format(hold=hold_id).split(";")):
        await by_hand(stack, statement)


@pytest.mark.parametrize(
    ("verb", "status", "stock"), [("commit", "committed", (9, 0)), ("release", "released", (10, 0))]
)
async def test_a_hold_that_is_active_again_after_a_restore_is_ended_as_before(
    stack: Stack, verb: str, status: str, stock: tuple[int, int]
) -> None:
    hold_id = (await stack.made())["holdId"]
    await stack.post(hold_id, verb)
    await stack.run_of(hold_id).result()
    await restored(stack, FORGET_THE_END, hold_id)
    assert await stack.stock_of() == (9, 1)

    report = await audited(stack)

    assert report.found == {"lost_run": 1}
    assert report.first[0].details["ended_before"] == status
    assert (await stack.run_of(hold_id).result()).status == status
    assert (await stack.read(hold_id))["reason"] == "restored"
    assert await stack.stock_of() == stock
    await assert_stock_adds_up(stack.engine)


@pytest.mark.parametrize(
    ("verb", "status", "stock"), [("commit", "committed", (9, 0)), ("release", "released", (10, 0))]
)
async def test_callers_who_repeat_an_end_that_a_restored_database_does_not_know_get_it_done_again(
    stack: Stack, verb: str, status: str, stock: tuple[int, int]
) -> None:
    hold_id = (await stack.made())["holdId"]
    await stack.post(hold_id, verb)
    await stack.run_of(hold_id).result()
    await restored(stack, FORGET_THE_END, hold_id)

    answers = await asyncio.gather(*(stack.post(hold_id, verb) for _ in range(4)))

    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(200, status)] * 4
    assert await stack.stock_of() == stock
    await assert_stock_adds_up(stack.engine)


PART = {"items": [{"sku": "TEE", "quantity": 2}]}
FORGET_THE_PART = """
UPDATE "InventoryHold" SET status = 'active', "committedAt" = NULL, sold = NULL WHERE id = '{hold}';
UPDATE "InventoryItem" SET held = 3, quantity = 7 WHERE sku = 'TEE';
DELETE FROM "InventoryMovement" WHERE "holdId" = '{hold}';
"""


async def test_what_a_partial_commit_sold_is_sold_again_after_a_restore(stack: Stack) -> None:
    hold_id = (await stack.made(("TEE", 3)))["holdId"]
    await stack.post(hold_id, "commit", PART)
    await stack.run_of(hold_id).result()
    await restored(stack, FORGET_THE_PART, hold_id)

    assert (await audited(stack)).found == {"lost_run": 1}

    await stack.run_of(hold_id).result()
    (item,) = (await stack.read(hold_id))["items"]
    assert (item["sold"], item["givenBack"]) == (2, 1)
    await assert_stock_adds_up(stack.engine)


FORGET_THE_OTHER_PAYMENT = FORGET_THE_END.replace("status = 'active'", """status = 'active', "paidElsewhere" = false""")


@pytest.mark.parametrize("lost", ["end", "row"])
async def test_what_was_paid_elsewhere_is_so_after_a_restore(stack: Stack, lost: str) -> None:
    since = datetime.now(UTC) - timedelta(seconds=2)
    hold_id = (await stack.made())["holdId"]
    await stack.post(hold_id, "commit", {"paidElsewhere": True})
    await stack.run_of(hold_id).result()
    if lost == "end":
        await restored(stack, FORGET_THE_OTHER_PAYMENT, hold_id)
        assert (await audited(stack)).found == {"lost_run": 1}
    else:
        await restored(stack, FORGET_THE_HOLD, hold_id)
        await until_found_again(stack, since)
    await stack.run_of(hold_id).result()
    sold = await read_hold(stack.engine, SHOP, hold_id)
    assert sold is not None
    assert (sold.status, sold.paid_elsewhere) == ("committed", True)
    await assert_stock_adds_up(stack.engine)


async def until_found_again(stack: Stack, since: datetime) -> None:
    lost_sales = LostSales(stack.engine, stack.temporal, task_queue=stack.task_queue)
    while not (found := await lost_sales.find(since, SHOP)):  # the list of workflows lags
        await asyncio.sleep(0.05)
    assert await lost_sales.commit_again(found[0]) == Repair()


async def test_a_lost_partial_sale_is_made_again_as_it_was(stack: Stack) -> None:
    since = datetime.now(UTC) - timedelta(seconds=2)
    hold_id = (await stack.made(("TEE", 3)))["holdId"]
    await stack.post(hold_id, "commit", PART)
    await stack.run_of(hold_id).result()
    await restored(stack, FORGET_THE_HOLD, hold_id)
    await until_found_again(stack, since)
    await stack.run_of(hold_id).result()

    assert await stack.stock_of() == (8, 0)
    await assert_stock_adds_up(stack.engine)


async def test_a_workflow_whose_hold_has_no_row_is_orphaned_unless_it_has_just_started(stack: Stack) -> None:
    hold_id = (await stack.made())["holdId"]
    await listed(stack, hold_id)
    await restored(stack, FORGET_THE_HOLD, hold_id)

    assert await auditor(stack).check(SHOP) == NOTHING
    later = auditor(stack)
    later.reserve_limit = timedelta()
    (orphaned,) = (await later.check(SHOP)).orphaned
    assert (orphaned.hold_id, orphaned.status) == (hold_id, None)
    assert await later.end(orphaned) == Repair()
    assert await stack.run_of(hold_id).result() == Ended("missing")
    assert await stack.stock_of() == (10, 0)


async def test_a_workflow_that_waits_for_a_worker_is_not_orphaned(stack: Stack) -> None:
    waiting = HoldInput(SHOP, "waiting", (Line("TEE", "", 1),), 600, 3600, request_timeout_ms=5000)
    queue = f"nobody-polls-{uuid.uuid4().hex}"
    await stack.temporal.start_workflow(HoldWorkflow.run, waiting, task_queue=queue, **start_options(waiting))
    await listed(stack, "waiting")
    later = WorkflowAuditor(stack.engine, stack.temporal, stack.settings, task_queue=queue)
    later.reserve_limit = timedelta()
    assert await later.check(SHOP) == NOTHING
    await stack.run_of("waiting").terminate()


@pytest.mark.parametrize(("left", "status", "stock"), [(1, "committed", (0, 0)), (0, "rejected", (0, 0))])
async def test_a_sale_that_a_restored_database_does_not_contain_is_committed_again_if_there_is_stock(
    stack: Stack, left: int, status: str, stock: tuple[int, int]
) -> None:
    since = datetime.now(UTC) - timedelta(seconds=2)
    hold_id = (await stack.made(reference="order-7"))["holdId"]
    await stack.post(hold_id, "commit")
    await stack.run_of(hold_id).result()
    await restored(stack, FORGET_THE_HOLD, hold_id)
    await stack.put(left)
    lost_sales = LostSales(stack.engine, stack.temporal, task_queue=stack.task_queue)
    while not (found := await lost_sales.find(since, SHOP)):  # the list of workflows lags
        await asyncio.sleep(0.05)

    assert await lost_sales.find(datetime.now(UTC) + timedelta(minutes=1), SHOP) == []
    assert await lost_sales.commit_again(found[0]) == Repair()
    assert await stack.run_of(hold_id).result() == Ended(status)  # type: ignore[arg-type]

    assert await stack.stock_of() == stock
    assert len(await lost_sales.find(since, SHOP)) == (status == "rejected")
    if status == "committed":
        assert (await stack.read(hold_id))["reference"] == "order-7"
    await assert_stock_adds_up(stack.engine)
