"""No audit runs: paused, gone or hanging, each is named, and mended by the commands of its page."""

import asyncio
from pathlib import Path

from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError

from activities.audit_schedule import AUDIT_SCHEDULE
from tests.e2e.deployment import Deployment
from tests.rollout.operator import Operator
from tests.waiting import until

_TERMINATE = """temporal workflow terminate --query 'WorkflowType="AuditWorkflow" AND ExecutionStatus="Running"' --reason hangs --yes"""  # noqa: E501 - the page's line
_TRIGGER = "temporal schedule trigger --schedule-id holdfast-audit"


async def audits(product: Deployment, status: str) -> int:
    query = f'WorkflowType="AuditWorkflow" AND ExecutionStatus="{status}"'
    return (await product.temporal.count_workflows(query)).count


async def test_an_audit_that_stopped_runs_again(product: Deployment, tmp_path: Path) -> None:
    operator = Operator("audit", tmp_path, product)
    worker = await product.start_worker()
    await product.made_of_own("lost")
    schedule = product.temporal.get_schedule_handle(AUDIT_SCHEDULE)
    await asyncio.to_thread(worker.stop)

    async def has_ended(before: int) -> bool:
        return await audits(product, "Completed") > before

    async def none_runs() -> bool:
        return await audits(product, "Running") == 0

    async def hangs() -> bool:
        return await audits(product, "Running") == 1

    async def is_scheduled() -> bool:
        try:
            await schedule.describe()
        except RPCError:
            return False
        return True

    # Without a worker, and without its schedule, from a shell.
    await product.run_of("lost").terminate()
    assert "hold lost: active" in await operator.does("holdfast audit", code=1)
    assert (await product.run_of("lost").describe()).status is WorkflowExecutionStatus.RUNNING

    await operator.does(_TRIGGER)
    await until(hangs, "an audit hangs")
    await operator.does(_TERMINATE)
    await until(none_runs, "it was terminated")
    await schedule.delete()
    assert "holdfast-audit is missing" in await operator.does("holdfast doctor", code=1)
    worker = await product.start_worker()
    await until(is_scheduled, "the started worker makes the schedule")
    await schedule.pause()
    assert "holdfast-audit is paused" in await operator.does("holdfast doctor", code=1)
    await operator.does("temporal schedule toggle --unpause --schedule-id holdfast-audit --reason 'on again'")
    before = await audits(product, "Completed")
    await operator.does(_TRIGGER)
    await until(lambda: has_ended(before), "an audit ends")
    assert "audit schedule: holdfast-audit, last run" in await operator.does("holdfast doctor")
    assert (await product.answered("lost", "release"))["status"] == "released"
    await asyncio.to_thread(worker.stop)
