"""The audit of workflows: compares active holds with running workflows, in both directions."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from core.error_messages import first_line
from core.rests import NO_RESTS, Rests
from core.settings import Settings
from domain.holds import Hold, HoldKey, HoldStatus
from holds.audit_model import MissingWorkflow, Repair, StrayWorkflow, WorkflowAudit
from holds.errors import HoldsError
from holds.resume import HoldMessenger
from holds.temporal_errors import NoRunningWorkflowError
from holds.workflow_client import WorkflowClient
from holds.workflow_list import list_hold_workflows
from inventory import audit
from inventory.audit import in_batches
from inventory.holds import read_hold
from workflows.hold import HoldWorkflow
from workflows.messages import HOLD_STATUS, Cancel, Commit, Ended, SettledStatus, hold_workflow_id
from workflows.payment_messages import PaymentProcessing

_CONCURRENT_CALLS = 16
"""Calls to Temporal at the same time: enough to resume many holds soon, few enough not to delay checkouts."""
_OVERDUE = timedelta(seconds=30)
"""A hold this long past its deadline is checked although the list of running workflows, which lags, has it."""
_ENDING_SECONDS = 2.0
"""A run ends some milliseconds after its row, or after it was asked to."""
_STILL_RUNS = "it still waits after it was asked to end"
_STATEMENT = timedelta(seconds=10)
"""More than the last attempt to reserve takes, if it began in time."""

_Subject = TypeVar("_Subject")
_Answer = TypeVar("_Answer")


class WorkflowAuditor:
    """Checks workflows, resumes the holds whose workflow is missing, and ends workflows whose hold has ended.

    `progress` is called with the number of rows of every batch.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        temporal: Client,
        settings: Settings,
        *,
        task_queue: str,
        progress: Callable[[int], None] = lambda _rows: None,
    ) -> None:
        self._engine = engine
        self._temporal = temporal
        self._workflows = WorkflowClient(temporal, task_queue)
        self._messenger = HoldMessenger(engine, settings)
        self._task_queue = task_queue
        self._progress = progress
        self.reserve_limit = timedelta(milliseconds=settings.request_timeout_ms) + _STATEMENT
        """A run older than this that has no row will never have one."""

    async def check(self, shop_id: str | None = None, rests: Rests = NO_RESTS) -> WorkflowAudit:
        """Find active holds without a workflow and resume them, and find workflows without an active hold.

        The new run closes the hold's payment and ends the hold: as its last run had ended it, if Temporal remembers
        that, else at its deadline. A workflow whose hold has ended is ended, which changes nothing of the hold; one
        whose hold has no row is left to a person. A hold that is made meanwhile is left to the next audit: in a rush,
        hundreds are. Raises RPCError, DatabaseBusyError and DatabaseUnavailableError.
        """
        began = datetime.now(UTC)
        started_before = began - self.reserve_limit
        running, strays = dict[HoldKey, WorkflowExecution](), list[HoldKey]()
        pages = list_hold_workflows(self._temporal, 'ExecutionStatus = "Running"', shop_id)
        async for runs in rests.between(pages):
            running |= runs
            strays += await self._without_active_hold(runs, running, started_before)
        now = datetime.now(UTC)
        holds, missing = 0, list[MissingWorkflow]()
        async for page in rests.between(audit.active_holds(self._engine, shop_id)):
            self._progress(len(page))
            holds += len(page)
            suspects = [
                hold
                for hold in page
                if (hold.key not in running and hold.created_at < began) or hold.expires_at + _OVERDUE < now
            ]
            missing += [found for found in await self._for_each(suspects, self._resume_if_missing) if found]
        orphaned = await self._orphaned(strays, running, started_before)
        return WorkflowAudit(holds, missing, orphaned)

    async def end(self, orphaned: StrayWorkflow) -> Repair:
        """Send the workflow of a hold that has ended the message that leads it to the same end."""
        key = HoldKey(orphaned.shop_id, orphaned.hold_id)
        try:
            if orphaned.status is HoldStatus.COMMITTED:
                await self._end_sold(key)
            else:
                cancel = Cancel(actor="audit", reason="ended_elsewhere")
                await self._workflows.signal(key, HoldWorkflow.cancel, cancel)
        except NoRunningWorkflowError:
            return Repair()  # it has ended
        except (HoldsError, RPCError, RuntimeError) as error:
            return Repair(first_line(error))
        return Repair()

    async def _end_sold(self, key: HoldKey) -> None:
        """End the run of a sold hold. A cancel would give back a payment that is authorised and not captured yet.

        Such a payment is in the row: the run reads its status, commits by it and captures it.
        """
        row = await read_hold(self._engine, *key)
        if row is not None and row.payment is not None:
            await self._workflows.signal(key, HoldWorkflow.payment_processing, PaymentProcessing(row.payment))
        else:
            commit = Commit(actor="audit", reason="ended_elsewhere")
            await self._workflows.signal(key, HoldWorkflow.record_commit, commit)

    async def _resume_if_missing(self, hold: Hold) -> MissingWorkflow | None:
        """Resume the hold in a new run if it has none. A failure is reported, so that it does not stop the audit."""
        ended_before = None
        try:
            last = await self._last_run(*hold.key)
            if last is not None and last.status is WorkflowExecutionStatus.RUNNING:
                return None
            # The row ends before its run does, so a row that is still active after its run is gone has no workflow.
            row = await read_hold(self._engine, *hold.key)
            if row is None or row.status is not HoldStatus.ACTIVE:
                return None
            ended_before = _settled_as(last)
            sale = await self._result_of(last) if last is not None and ended_before == "committed" else None
            resumed = await self._messenger.resume_input(row, orphaned=True, ended_before=ended_before, sale=sale)
            await self._workflows.start(resumed)
        except Exception as error:  # noqa: BLE001 - it is reported, and the next hold is checked
            return MissingWorkflow(hold, Repair(first_line(error)), ended_before)
        return MissingWorkflow(row, Repair(), ended_before)

    async def _last_run(self, shop_id: str, hold_id: str) -> WorkflowExecutionDescription | None:
        try:
            return await self._temporal.get_workflow_handle(hold_workflow_id(shop_id, hold_id)).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise

    async def _result_of(self, last: WorkflowExecutionDescription) -> Ended:
        run = self._temporal.get_workflow_handle_for(HoldWorkflow.run, last.id, run_id=last.run_id)
        return await run.result(follow_runs=False)

    async def _orphaned(
        self, suspects: Collection[HoldKey], running: dict[HoldKey, WorkflowExecution], started_before: datetime
    ) -> list[StrayWorkflow]:
        still = await self._idle_after_pause(suspects)
        # Read again: a row may have been inserted meanwhile.
        statuses = await self._without_active_hold(still, running, started_before)
        found = {key: StrayWorkflow(*key, status) for key, status in statuses.items()}
        ended = [key for key in found if found[key].status is not None and running[key].task_queue == self._task_queue]
        repairs = dict(zip(ended, await self._for_each([found[key] for key in ended], self.end), strict=True))
        for key in await self._idle_after_pause(ended):
            if repairs[key].problem is None:
                repairs[key] = Repair(_STILL_RUNS)
        return [replace(stray, repair=repairs.get(key)) for key, stray in found.items()]

    async def _idle_after_pause(self, keys: Collection[HoldKey]) -> list[HoldKey]:
        """Return those whose run is still open a moment later and has nothing to do."""
        if not keys:
            return []
        await asyncio.sleep(_ENDING_SECONDS)
        idle = await self._for_each(keys, self._is_idle)
        return [key for key, is_idle in zip(keys, idle, strict=True) if is_idle]

    async def _without_active_hold(
        self, keys: Collection[HoldKey], running: dict[HoldKey, WorkflowExecution], started_before: datetime
    ) -> dict[HoldKey, HoldStatus | None]:
        """Return the holds that have ended, and those without a row (None) whose run started before that time.

        A run of another task queue belongs to another installation, whose rows are in another database.
        """
        found = dict[HoldKey, HoldStatus | None]()
        for batch in in_batches(sorted(keys)):
            self._progress(len(batch))
            rows = await audit.statuses_of(self._engine, batch)
            for key in batch:
                status = rows.get(key)
                run = running[key]
                no_row = status is None and run.task_queue == self._task_queue and run.start_time < started_before
                if no_row or status not in (None, HoldStatus.ACTIVE):
                    found[key] = status
        return found

    async def _is_idle(self, key: HoldKey) -> bool:
        """Return whether the run is open and waits for messages or time.

        One with a task or an activity to do is working, or waits for a worker that is frozen or behind: it may still
        reserve, or end by itself.
        """
        last = await self._last_run(*key)
        if last is None or last.status is not WorkflowExecutionStatus.RUNNING:
            return False
        raw = last.raw_description
        return not raw.HasField("pending_workflow_task") and not raw.pending_activities

    async def _for_each(
        self, subjects: Collection[_Subject], check: Callable[[_Subject], Awaitable[_Answer]]
    ) -> list[_Answer]:
        answers = list[_Answer]()
        for batch in in_batches(list(subjects), _CONCURRENT_CALLS):
            self._progress(len(batch))
            answers += await asyncio.gather(*map(check, batch))
        return answers


def _settled_as(last: WorkflowExecutionDescription | None) -> SettledStatus | None:
    """Return the status in which the completed run ended the hold, else None."""
    if last is None or last.status is not WorkflowExecutionStatus.COMPLETED:
        return None
    match last.typed_search_attributes.get(HOLD_STATUS):
        case "committed" | "released" | "expired" as status:
            return status
        case _:
            return None
