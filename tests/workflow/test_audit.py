"""The audit finds items whose figures disagree and workflows without an active hold, and resumes missing workflows."""

import asyncio
import uuid

import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from core.database import fetch
from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import end
from domain.holds import HoldStatus
from domain.payments import Payment
from holds.audit_workflows import WorkflowAuditor
from holds.event_delivery import background_task_queue
from holds.workflow_list import list_hold_workflows
from inventory.moments import Moment, read_moments
from tests.stack import SHOP, Stack, running_stack
from tests.waiting import until
from tests.workflow.conftest import SkippingStack
from tests.workflow.sending import held
from workflows.audit import AuditWorkflow
from workflows.findings import AuditReport, AuditRequest
from workflows.hold import HoldWorkflow
from workflows.messages import Cancel, Ended
from workflows.payment_messages import PaymentProcessing

RELEASE_BY_HAND = """
UPDATE "InventoryHold" SET status = 'released', "releasedAt" = NOW() WHERE status = 'active'
"""


@pytest.fixture
async def stack(own_stack: Stack) -> Stack:
    """A product for each test: an audit looks at all workflows of its task queue."""
    return own_stack


async def audited(stack: Stack, shop: str | None = SHOP) -> AuditReport:
    """Run the workflow as its schedule does, and return its result."""
    return await stack.temporal.execute_workflow(
        AuditWorkflow.run,
        AuditRequest(shop),
        id=f"audit-{uuid.uuid4().hex}",
        task_queue=background_task_queue(stack.task_queue),
    )


def auditor(stack: Stack) -> WorkflowAuditor:
    return WorkflowAuditor(stack.engine, stack.temporal, stack.settings, task_queue=stack.task_queue)


async def by_hand(stack: Stack, statement: str) -> None:
    await fetch(stack.engine, statement, {})


async def listed(stack: Stack, *hold_ids: str) -> None:
    """Wait until Temporal's list of running workflows, which lags, contains the holds."""
    expected = {(SHOP, hold_id) for hold_id in hold_ids}

    async def all_listed() -> bool:
        pages = list_hold_workflows(stack.temporal, 'ExecutionStatus = "Running"', SHOP)
        running = {key async for page in pages for key in page}
        return expected <= running

    await until(all_listed, f"the workflows of {hold_ids} are listed")


async def test_consistent_stock_gives_no_findings(stack: Stack) -> None:
    await stack.made(("TEE", 3))
    await stack.post((await stack.made())["holdId"], "commit")
    before = await read_moments(stack.engine)

    report = await audited(stack)

    assert (report.items, report.active_holds, report.found) == (1, 1, {})
    assert stack.worker_metrics.get_sample_value("inventory_audit_looks_total", {"at": "stock"}) == 1
    assert await read_moments(stack.engine) == before  # an audit of one shop is not the scheduled one
    await audited(stack, None)
    noted = await read_moments(stack.engine)
    assert all(noted[moment] > before[moment] for moment in (Moment.AUDIT_STOCK, Moment.AUDIT_RUNS))


@pytest.mark.parametrize(
    ("statement", "kinds"),
    [
        ('UPDATE "InventoryItem" SET held = held + 2, quantity = quantity - 2', {"held": 1}),
        ('UPDATE "InventoryItem" SET quantity = quantity + 5', {"balance": 1}),
        ('UPDATE "InventoryItem" SET held = 0', {"held": 1, "balance": 1}),
        ('UPDATE "InventoryHoldItem" SET quantity = 2', {"held": 1}),
        ('DELETE FROM "InventoryItem"', {"no_item": 1}),
        ('DELETE FROM "InventoryMovement"', {"balance": 1}),
    ],
)
async def test_every_kind_of_drift_is_found(stack: Stack, statement: str, kinds: dict[str, int]) -> None:
    await stack.made(("TEE", 3))
    await by_hand(stack, statement)

    report = await audited(stack)

    assert report.found == kinds
    assert {(finding.kind, finding.shop_id, finding.subject) for finding in report.first} == {
        (kind, SHOP, "TEE") for kind in kinds
    }
    for kind in kinds:
        assert stack.counted("inventory_audit_findings", kind=kind, mended="false") == 1


async def test_the_scheduled_audit_repairs_no_item(stack: Stack) -> None:
    await stack.made(("TEE", 3))
    await by_hand(stack, 'UPDATE "InventoryItem" SET held = 5')

    await audited(stack)

    assert await stack.stock_of() == (7, 5)


async def test_a_hold_whose_workflow_was_terminated_is_resumed_and_expires_at_its_deadline_as_orphaned(
    skipping: SkippingStack,
) -> None:
    stack = skipping.stack
    hold = await stack.made(("TEE", 3), ttlSeconds=1200)
    await stack.run_of(hold["holdId"]).terminate()

    with skipping.environment.with_time_skipping_disabled():  # else the new run's timer fires at once
        report = await audited(stack)

    assert report.found == {"lost_run": 1}
    assert report.first[0].mended
    assert await skipping.is_open(hold["holdId"])
    assert (await stack.read(hold["holdId"]))["expiresAt"] == hold["expiresAt"]
    await skipping.pass_time(hold["holdId"], 1190)
    assert await skipping.is_open(hold["holdId"])
    await skipping.pass_time(hold["holdId"], 11)
    assert await stack.run_of(hold["holdId"]).result() == Ended("expired")
    assert (await stack.read(hold["holdId"]))["reason"] == "orphaned"
    assert await stack.stock_of() == (10, 0)
    await assert_stock_adds_up(stack.engine)


async def test_an_overdue_hold_whose_workflow_was_terminated_is_ended(stack: Stack) -> None:
    holds = await held(stack, 2)
    await asyncio.gather(*(hold.handle.terminate() for hold in holds))
    await by_hand(stack, 'UPDATE "InventoryHold" SET "expiresAt" = now() - interval \'1 hour\'')

    report = await audited(stack)

    assert report.found == {"lost_run": 2}
    for hold in holds:
        assert await stack.run_of(hold.hold_id).result() == Ended("expired")
        assert (await stack.read(hold.hold_id))["reason"] == "orphaned"
    assert await stack.stock_of() == (10, 0)
    assert (await audited(stack)).found == {}


async def test_a_resumed_hold_can_be_committed(stack: Stack) -> None:
    hold = await stack.made()
    await stack.run_of(hold["holdId"]).terminate()
    await audited(stack)

    assert (await stack.post(hold["holdId"], "commit")).json()["status"] == "committed"
    assert await stack.stock_of() == (9, 0)


async def test_concurrent_audits_start_one_run(stack: Stack) -> None:
    hold = await stack.made()
    await stack.run_of(hold["holdId"]).terminate()

    await asyncio.gather(audited(stack), audited(stack))

    runs = [w async for w in stack.temporal.list_workflows(f"WorkflowId = '{stack.run_of(hold['holdId']).id}'")]
    assert [w.status for w in runs].count(WorkflowExecutionStatus.RUNNING) <= 1
    assert await stack.stock_of() == (9, 1)


async def test_a_hold_that_cannot_be_resumed_does_not_stop_the_audit(stack: Stack) -> None:
    good, bad = await held(stack, 2)
    await asyncio.gather(good.handle.terminate(), bad.handle.terminate())
    too_long = "x" * 1100  # longer than a workflow id may be
    await by_hand(
        stack,
        'ALTER TABLE "InventoryHoldItem" DROP CONSTRAINT "InventoryHoldItem_hold_fkey"',
    )
    await by_hand(stack, f"UPDATE \"InventoryHold\" SET id = '{too_long}' WHERE id = '{bad.hold_id}'")
    await by_hand(stack, f'UPDATE "InventoryHoldItem" SET "holdId" = \'{too_long}\' WHERE "holdId" = \'{bad.hold_id}\'')

    report = await audited(stack)

    assert report.found == {"lost_run": 2}
    repaired, failed = sorted(report.first, key=lambda finding: len(finding.subject))
    assert (repaired.mended, repaired.problem) == (True, None)
    assert not failed.mended
    assert failed.problem
    assert (await good.handle._client.get_workflow_handle(good.handle.id).describe()).status == (
        WorkflowExecutionStatus.RUNNING
    )


async def test_a_drifted_item_does_not_stop_the_audit(stack: Stack) -> None:
    await stack.put(5, sku="MUG")
    await by_hand(stack, 'UPDATE "InventoryItem" SET held = 1')

    report = await audited(stack)

    assert report.found == {"held": 2, "balance": 2}


async def test_an_audit_under_load_finds_nothing(stack: Stack) -> None:
    await stack.put(1000)
    done = asyncio.Event()

    async def shop() -> None:
        while not done.is_set():
            hold = await stack.made(("TEE", 2))
            await stack.post(hold["holdId"], "release")

    shoppers = [asyncio.create_task(shop()) for _ in range(4)]
    reports = [await audited(stack) for _ in range(2)]
    done.set()
    await asyncio.gather(*shoppers)

    assert [report.found for report in reports] == [{}] * 2


async def test_a_workflow_whose_hold_has_ended_in_the_database_is_ended_by_the_audit(stack: Stack) -> None:
    hold = await stack.made(("TEE", 3))
    await listed(stack, hold["holdId"])
    await by_hand(stack, RELEASE_BY_HAND)

    report = await audited(stack)

    assert report.found == {"held": 1, "stray_run": 1}
    assert [finding.mended for finding in report.first if finding.kind == "stray_run"] == [True]
    assert await stack.run_of(hold["holdId"]).result() == Ended("released")
    assert stack.counted("inventory_audit_findings", kind="stray_run", mended="true") == 1
    assert stack.counted("inventory_audit_findings", kind="stray_run", mended="false") == 0


async def test_a_sale_whose_workflow_lost_its_end_is_mended_without_an_alarm(stack: Stack) -> None:
    hold = await stack.made(("TEE", 3))
    await listed(stack, hold["holdId"])
    await end(stack.engine, hold["holdId"], HoldStatus.COMMITTED)

    report = await audited(stack)

    assert [(finding.kind, finding.mended) for finding in report.first] == [("stray_run", True)]
    assert await stack.run_of(hold["holdId"]).result() == Ended("committed")
    assert await stack.stock_of() == (7, 0)
    await assert_stock_adds_up(stack.engine)


async def test_a_workflow_that_goes_on_when_it_is_asked_to_end_is_left_to_a_person(stack: Stack) -> None:
    hold = await stack.made(("TEE", 3))
    await listed(stack, hold["holdId"])
    debit = PaymentProcessing(Payment("pi_debit"), grace_seconds=7200)
    await stack.run_of(hold["holdId"]).signal(HoldWorkflow.payment_processing, debit)

    async def moved() -> bool:
        return bool((await stack.read(hold["holdId"]))["expiresAt"] > hold["expiresAt"])

    await until(moved, "the debit moved the deadline")
    await end(stack.engine, hold["holdId"], HoldStatus.RELEASED)

    (finding,) = (await audited(stack)).first

    assert (finding.kind, finding.mended, finding.repairable) == ("stray_run", False, True)
    assert finding.problem


async def test_a_run_that_waits_for_a_frozen_worker_is_no_finding(database: str, temporal: Client) -> None:
    async with running_stack(database, temporal, with_worker=False) as stack:
        await stack.put(10)
        async with stack.worker():
            hold = await stack.made(("TEE", 3))
        await listed(stack, hold["holdId"])
        await stack.run_of(hold["holdId"]).signal(HoldWorkflow.cancel, Cancel(actor="test"))
        await end(stack.engine, hold["holdId"], HoldStatus.RELEASED)

        assert (await auditor(stack).check(SHOP)).orphaned == []

        async with stack.worker():
            assert await stack.run_of(hold["holdId"]).result() == Ended("released")


async def test_an_audit_waits_for_a_database_that_fails(database: str, temporal: Client) -> None:
    async with running_stack(database, temporal, with_worker=False) as stack:
        await by_hand(stack, 'ALTER TABLE "InventoryMovement" RENAME TO "Elsewhere"')
        async with stack.background_worker():
            handle = await temporal.start_workflow(
                AuditWorkflow.run,
                AuditRequest(SHOP),
                id=f"audit-{uuid.uuid4().hex}",
                task_queue=background_task_queue(stack.task_queue),
            )

            async def tried_again() -> bool:
                description = await handle.describe()
                return any(activity.attempt > 1 for activity in description.raw_description.pending_activities)

            await until(tried_again, "the audit's activity is tried again")
            await by_hand(stack, 'ALTER TABLE "Elsewhere" RENAME TO "InventoryMovement"')
            assert (await handle.result()).found == {}
