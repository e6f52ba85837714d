"""The audit's other eye: active holds against workflows, workflows against holds, and what only Temporal remembers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar, cast, get_args

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from core.settings import Settings
from holds.starting import resumed, start_options
from inventory import audit
from inventory.audit import BATCH, HoldKey, in_batches
from inventory.holds import Hold, HoldStatus, read_hold
from workflows.hold import HoldWorkflow
from workflows.messages import HOLD_STATUS, Cancel, HoldInput, SettledStatus, hold_workflow_id

_AT_ONCE = 16
"""Calls to Temporal under way at the same time: many lost runs are mended soon, and checkouts go on meanwhile."""
_OVERDUE = timedelta(seconds=30)
"""A hold this long past its deadline is looked up even where the list of running workflows, which lags, has it."""
_ENDING_SECONDS = 2.0
"""A run ends some milliseconds after its row: what still runs this long after is astray."""
_EVENTS_BEFORE_THE_FIRST_TASK = 3
"""Started, task scheduled, task started: a longer history has had its reserve."""
_STATEMENT = timedelta(seconds=10)
"""Longer than the last attempt to reserve takes that was begun in time."""

_Subject = TypeVar("_Subject")
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class LostRun:
    """An active hold without a run, and whether it has a new one now."""

    hold: Hold
    ended_before: SettledStatus | None = None
    """How its last run had ended it, which the database has forgotten: it was restored to an earlier moment."""
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class StrayRun:
    """A run that goes on though its hold has ended in the database, or has no row there (None)."""

    shop_id: str
    hold_id: str
    status: HoldStatus | None


@dataclass(frozen=True, slots=True)
class LostSale:
    """A hold that Temporal remembers as sold and of which the database has no row."""

    shop_id: str
    hold_id: str
    run_id: str
    sold_at: datetime


class RunAuditor:
    """Looks at runs, and starts anew those that were lost. `progress` is told of every batch."""

    def __init__(
        self,
        engine: AsyncEngine,
        temporal: Client,
        settings: Settings,
        *,
        task_queue: str,
        progress: Callable[[int], None] = lambda _looked_at: None,
    ) -> None:
        self._engine = engine
        self._temporal = temporal
        self._settings = settings
        self._task_queue = task_queue
        self._progress = progress
        self.beginning = timedelta(milliseconds=settings.request_timeout_ms) + _STATEMENT
        """A run older than this that has no row gets none any more."""

    async def look(self, shop_id: str | None = None) -> tuple[int, list[LostRun], list[StrayRun]]:
        """Return how many holds are active, those that had no run, and the runs whose hold is not active.

        A lost run has been started anew: it closes the hold's payment and ends the hold, as it had ended before where
        Temporal remembers that, else at its deadline. Raises RPCError where Temporal is out of reach.
        """
        running = await self._running(shop_id)
        now = datetime.now(UTC)
        holds, lost = 0, list[LostRun]()
        async for page in audit.active_holds(self._engine, shop_id):
            self._progress(len(page))
            holds += len(page)
            doubtful = [
                hold for hold in page if (hold.shop_id, hold.hold_id) not in running or hold.expires_at + _OVERDUE < now
            ]
            lost += [found for found in await self._of_each(doubtful, self._look_for_run) if found]
        return holds, lost, await self._stray(running, began_before=now - self.beginning)

    async def lost_sales(self, since: datetime, shop_id: str | None = None) -> list[LostSale]:
        """Return the holds that were sold since then, as Temporal has it, and have no row, the first first.

        For a database that was restored to that moment. What Temporal keeps no longer (its retention) is not found.
        Raises RPCError where Temporal is out of reach.
        """
        query = f'HoldStatus = "committed" AND CloseTime >= "{since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"'
        sold = {key: run async for key, run in self._listed(query, shop_id) if run.task_queue == self._task_queue}
        rows = dict[HoldKey, HoldStatus]()
        for batch in in_batches(sorted(sold)):
            rows |= await audit.statuses_of(self._engine, batch)
        lost = [
            LostSale(*key, run.run_id, cast("datetime", run.close_time)) for key, run in sold.items() if key not in rows
        ]
        return sorted(lost, key=lambda sale: sale.sold_at)

    async def sell_again(self, sale: LostSale) -> str | None:
        """Start a run that takes the stock of the sale and sells it. Returns why it could not be started, if so.

        Where the stock is not there any more the run ends without a row, and the sale is found again.
        """
        handle = self._temporal.get_workflow_handle(hold_workflow_id(sale.shop_id, sale.hold_id), run_id=sale.run_id)
        try:
            first = await anext(handle.fetch_history_events(page_size=1))
            payloads = first.workflow_execution_started_event_attributes.input.payloads
            [made] = await self._temporal.data_converter.decode(payloads, [HoldInput])
            await self._start(
                replace(cast("HoldInput", made), checkout=None, expires_at=None, ended_before="committed")
            )
        except Exception as error:  # noqa: BLE001 - it is reported, and the next one is looked at
            return str(error) or type(error).__name__
        return None

    async def end(self, stray: StrayRun) -> str | None:
        """Tell the run that its hold has ended, which ends it. Returns why it could not be told, if so."""
        handle = self._temporal.get_workflow_handle_for(
            HoldWorkflow.run, hold_workflow_id(stray.shop_id, stray.hold_id)
        )
        try:
            await handle.signal(HoldWorkflow.cancel, Cancel(actor="audit", reason="ended_elsewhere"))
        except RPCError as error:
            return None if error.status is RPCStatusCode.NOT_FOUND else error.message
        return None

    async def _running(self, shop_id: str | None) -> dict[HoldKey, WorkflowExecution]:
        """Return the open runs."""
        return {key: run async for key, run in self._listed('ExecutionStatus = "Running"', shop_id)}

    async def _listed(self, query: str, shop_id: str | None) -> AsyncIterator[tuple[HoldKey, WorkflowExecution]]:
        of_shop = f' AND ShopId = "{shop_id}"' if shop_id else ""
        found = 0
        async for run in self._temporal.list_workflows(
            f'WorkflowType = "HoldWorkflow" AND {query}{of_shop}', page_size=1000
        ):
            kind, _, name = run.id.partition(":")
            shop, _, hold = name.partition(":")
            if kind == "hold" and hold:
                yield (shop, hold), run
            found += 1
            if found % BATCH == 0:
                self._progress(BATCH)

    async def _look_for_run(self, hold: Hold) -> LostRun | None:
        """Start a new run where the hold has none. One that cannot be helped never keeps the others waiting."""
        ended_before = None
        try:
            last = await self._last_run(hold.shop_id, hold.hold_id)
            if last is not None and last.status is WorkflowExecutionStatus.RUNNING:
                return None
            # The row ends before its run does: one that is active still, read after the run was gone, is lost.
            row = await read_hold(self._engine, hold.shop_id, hold.hold_id)
            if row is None or row.status is not HoldStatus.ACTIVE:
                return None
            ended_before = _ended_by(last)
            await self._start(self._resumed(row, ended_before))
        except Exception as error:  # noqa: BLE001 - it is reported, and the next one is looked at
            return LostRun(hold, ended_before, str(error) or type(error).__name__)
        return LostRun(row, ended_before)

    async def _last_run(self, shop_id: str, hold_id: str) -> WorkflowExecutionDescription | None:
        try:
            return await self._temporal.get_workflow_handle(hold_workflow_id(shop_id, hold_id)).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise

    async def _runs_without_hold(self, candidate: tuple[HoldKey, HoldStatus | None]) -> bool:
        """Tell whether the run is open still, and began its work: one that waits for a worker may yet get its row."""
        key, status = candidate
        last = await self._last_run(*key)
        if last is None or last.status is not WorkflowExecutionStatus.RUNNING:
            return False
        return status is not None or last.history_length > _EVENTS_BEFORE_THE_FIRST_TASK

    def _resumed(self, row: Hold, ended_before: SettledStatus | None) -> HoldInput:
        hold = resumed(
            row,
            max_ttl_seconds=self._settings.max_ttl_seconds,
            request_timeout_ms=self._settings.request_timeout_ms,
            close_grace_seconds=self._settings.payment_close_grace_seconds,
            orphaned=True,
        )
        return replace(hold, ended_before=ended_before)

    async def _start(self, hold: HoldInput) -> None:
        await self._temporal.start_workflow(HoldWorkflow.run, hold, task_queue=self._task_queue, **start_options(hold))

    async def _stray(self, running: dict[HoldKey, WorkflowExecution], *, began_before: datetime) -> list[StrayRun]:
        candidates = await self._not_active(running, running, began_before)
        if candidates:
            await asyncio.sleep(_ENDING_SECONDS)
        astray = await self._of_each(candidates.items(), self._runs_without_hold)
        still = [key for key, is_astray in zip(candidates, astray, strict=True) if is_astray]
        # Read again: a row may have come meanwhile.
        return [
            StrayRun(*key, status) for key, status in (await self._not_active(still, running, began_before)).items()
        ]

    async def _not_active(
        self, keys: Collection[HoldKey], running: dict[HoldKey, WorkflowExecution], began_before: datetime
    ) -> dict[HoldKey, HoldStatus | None]:
        """Return those of the holds that have ended, and those that are not there though their run is not young.

        The runs of another task queue are another installation's, whose rows are elsewhere.
        """
        found = dict[HoldKey, HoldStatus | None]()
        for batch in in_batches(sorted(keys)):
            self._progress(len(batch))
            rows = await audit.statuses_of(self._engine, batch)
            for key in batch:
                status = rows.get(key)
                run = running[key]
                missing = status is None and run.task_queue == self._task_queue and run.start_time < began_before
                if missing or status not in (None, HoldStatus.ACTIVE):
                    found[key] = status
        return found

    async def _of_each(
        self, subjects: Collection[_Subject], look: Callable[[_Subject], Awaitable[_Answer]]
    ) -> list[_Answer]:
        answers = list[_Answer]()
        for few in in_batches(list(subjects), _AT_ONCE):
            self._progress(len(few))
            answers += await asyncio.gather(*map(look, few))
        return answers


def _ended_by(last: WorkflowExecutionDescription | None) -> SettledStatus | None:
    """Return how the run that is over had ended the hold, None where it had not."""
    status = last.typed_search_attributes.get(HOLD_STATUS) if last else None
    over = last is not None and last.status is WorkflowExecutionStatus.COMPLETED
    return cast("SettledStatus", status) if over and status in get_args(SettledStatus) else None
