"""The audit's eyes: every item against its holds and movements, every active hold against its workflow, and back."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from inventory import audit
from inventory.audit import BATCH, Drift, EndedHold, ItemKey
from inventory.engine import DatabaseBusyError, DatabaseUnavailableError
from inventory.holds import Hold, HoldStatus, read_hold
from inventory.settings import Settings
from inventory.telemetry import Telemetry
from workflows.findings import AuditPort, AuditRequest, Finding, Looked, looked
from workflows.hold import HoldWorkflow
from workflows.messages import Cancel, hold_workflow_id
from workflows.starting import resumed, start_options

_AT_ONCE = 16
"""Calls to Temporal under way at the same time: many lost runs are mended soon, and checkouts go on meanwhile."""
_OVERDUE = timedelta(seconds=30)
"""A hold this long past its deadline is looked up even where the list of running workflows, which lags, has it."""
_ENDING_SECONDS = 2.0
"""A run ends some milliseconds after its row: what still runs this long after is astray."""

_Subject = TypeVar("_Subject")


def _nobody_waits(_looked_at: int) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Lost:
    """An active hold without a run, and whether it has a new one now."""

    hold: Hold
    problem: str | None = None


class Auditor:
    """Looks, and sets right what needs no person. `progress` is told of every batch."""

    def __init__(
        self,
        engine: AsyncEngine,
        temporal: Client,
        settings: Settings,
        *,
        task_queue: str,
        progress: Callable[[int], None] = _nobody_waits,
    ) -> None:
        self._engine = engine
        self._temporal = temporal
        self._settings = settings
        self._task_queue = task_queue
        self._progress = progress

    async def stock(self, shop_id: str | None = None) -> tuple[int, list[Drift]]:
        """Return how many items there are and those whose figures disagree.

        Sums and items are first read apart, in batches; whatever disagrees then, by a hold made or ended in between or
        truly, is read again in one statement.
        """
        active: dict[ItemKey, int] = {}
        async for holds in audit.active_holds(self._engine, shop_id):
            self._progress(len(holds))
            for hold in holds:
                for line in hold.lines:
                    key = (hold.shop_id, line.sku, line.variant_key)
                    active[key] = active.get(key, 0) + line.quantity
        items, suspects = 0, list[ItemKey]()
        async for page in audit.counts(self._engine, shop_id):
            self._progress(len(page))
            items += len(page)
            for count in page:
                held_is_right = count.held == active.pop(count.key, 0)
                if not held_is_right or count.quantity + count.held != (count.on_hand or 0):
                    suspects.append(count.key)
        suspects += active  # lines of items that are not there
        drifts = list[Drift]()
        for batch in _batches(sorted(suspects)):
            self._progress(len(batch))
            drifts += await audit.judge(self._engine, batch)
        return items, drifts

    async def repair(self, drift: Drift) -> tuple[Drift, str | None]:
        """Set the item right. Returns what was found under the lock, and why it could not be set right, if so."""
        try:
            found = await audit.repair(self._engine, drift.key)
        except (DatabaseBusyError, DatabaseUnavailableError) as error:
            return drift, f"not repaired: {error}"
        if found is None or found.repairable:
            return found or drift, None
        return found, "not repaired: " + _why_not(found)

    async def runs(self, shop_id: str | None = None) -> tuple[int, list[Lost], list[EndedHold]]:
        """Return how many holds are active, those that had no run, and the ended ones whose run goes on.

        A lost run has been started anew: it closes the hold's payment and ends the hold, at once if its deadline has
        passed. Raises RPCError where Temporal is out of reach.
        """
        running = await self._running(shop_id)
        now = datetime.now(UTC)
        holds, lost = 0, list[Lost]()
        async for page in audit.active_holds(self._engine, shop_id):
            self._progress(len(page))
            holds += len(page)
            doubtful = [
                hold for hold in page if (hold.shop_id, hold.hold_id) not in running or hold.expires_at + _OVERDUE < now
            ]
            for batch in _batches(doubtful, _AT_ONCE):
                lost += [found for found in await asyncio.gather(*map(self._look_for_run, batch)) if found]
        return holds, lost, await self._stray(running)

    async def end(self, ended: EndedHold) -> str | None:
        """Tell the run that its hold has ended, which ends it. Returns why it could not be told, if so."""
        handle = self._temporal.get_workflow_handle_for(
            HoldWorkflow.run, hold_workflow_id(ended.shop_id, ended.hold_id)
        )
        try:
            await handle.signal(HoldWorkflow.cancel, Cancel(actor="audit", reason="ended_elsewhere"))
        except RPCError as error:
            return None if error.status is RPCStatusCode.NOT_FOUND else error.message
        return None

    async def _running(self, shop_id: str | None) -> set[tuple[str, str]]:
        of_shop = f' AND ShopId = "{shop_id}"' if shop_id else ""
        query = f'WorkflowType = "HoldWorkflow" AND ExecutionStatus = "Running"{of_shop}'
        found = set[tuple[str, str]]()
        async for execution in self._temporal.list_workflows(query, page_size=1000):
            kind, _, name = execution.id.partition(":")
            shop, _, hold = name.partition(":")
            if kind == "hold" and hold:
                found.add((shop, hold))
            if len(found) % BATCH == 0:
                self._progress(len(found))
        return found

    async def _look_for_run(self, hold: Hold) -> Lost | None:
        """Start a new run where the hold has none. One that cannot be helped never keeps the others waiting."""
        try:
            if await self._runs(hold.shop_id, hold.hold_id):
                return None
            # The row ends before its run does: one that is active still, read after the run was gone, is lost.
            row = await read_hold(self._engine, hold.shop_id, hold.hold_id)
            if row is None or row.status is not HoldStatus.ACTIVE:
                return None
            await self._resume(row)
        except Exception as error:  # noqa: BLE001 - it is reported, and the next one is looked at
            return Lost(hold, str(error) or type(error).__name__)
        return Lost(row)

    async def _runs(self, shop_id: str, hold_id: str) -> bool:
        try:
            found = await self._temporal.get_workflow_handle(hold_workflow_id(shop_id, hold_id)).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
        return found.status is WorkflowExecutionStatus.RUNNING

    async def _resume(self, row: Hold) -> None:
        hold = resumed(
            row,
            max_ttl_seconds=self._settings.max_ttl_seconds,
            request_timeout_ms=self._settings.request_timeout_ms,
            close_grace_seconds=self._settings.payment_close_grace_seconds,
            orphaned=True,
        )
        await self._temporal.start_workflow(HoldWorkflow.run, hold, task_queue=self._task_queue, **start_options(hold))

    async def _stray(self, running: set[tuple[str, str]]) -> list[EndedHold]:
        candidates = list[EndedHold]()
        for batch in _batches(sorted(running)):
            self._progress(len(batch))
            candidates += await audit.ended_of(self._engine, batch)
        if candidates:
            await asyncio.sleep(_ENDING_SECONDS)
        stray = list[EndedHold]()
        for few in _batches(candidates, _AT_ONCE):
            self._progress(len(few))
            still = await asyncio.gather(*(self._runs(hold.shop_id, hold.hold_id) for hold in few))
            stray += [hold for hold, runs in zip(few, still, strict=True) if runs]
        return stray


class AuditActivities(AuditPort):
    """AuditPort that logs and counts what it finds."""

    def __init__(
        self, engine: AsyncEngine, temporal: Client, settings: Settings, telemetry: Telemetry, *, task_queue: str
    ) -> None:
        self._auditor = Auditor(engine, temporal, settings, task_queue=task_queue, progress=activity.heartbeat)
        self._telemetry = telemetry

    @activity.defn(name="audit-stock")
    async def audit_stock(self, request: AuditRequest) -> Looked:
        """Compare every item with its active holds and its last movement."""
        try:
            items, drifts = await self._auditor.stock(request.shop_id)
        except (DatabaseBusyError, DatabaseUnavailableError) as error:
            raise ApplicationError(f"Postgres: {error}", type="unavailable") from error
        return self._reported("stock", items, [finding for drift in drifts for finding in of_drift(drift)])

    @activity.defn(name="audit-runs")
    async def audit_runs(self, request: AuditRequest) -> Looked:
        """Give active holds without a run a new one, and find the runs of holds that have ended."""
        try:
            holds, lost, stray = await self._auditor.runs(request.shop_id)
        except (DatabaseBusyError, DatabaseUnavailableError) as error:
            raise ApplicationError(f"Postgres: {error}", type="unavailable") from error
        return self._reported("runs", holds, [*map(of_lost, lost), *map(of_stray, stray)])

    def _reported(self, at: str, looked_at: int, findings: list[Finding]) -> Looked:
        self._telemetry.audited(
            at,
            looked_at,
            [(f.kind, f.mended, {"shop_id": f.shop_id, "subject": f.subject, "problem": f.sentence}) for f in findings],
        )
        return looked(looked_at, findings)


def of_drift(drift: Drift) -> Iterator[Finding]:
    """Say what is wrong with the item."""
    shop, subject = drift.key[0], " ".join(drift.key[1:]).strip()
    name = f"{shop} {subject}"
    if drift.held is None:
        yield Finding(
            "no_item",
            shop,
            subject,
            f"{name}: active holds have {_units(drift.active)} of it, but there is no such item; set its count.",
        )
        return
    advice = (
        " `holdfast audit --repair` sets it right." if drift.repairable else f" It needs a person: {_why_not(drift)}."
    )
    if drift.held_differs:
        yield Finding(
            "held",
            shop,
            subject,
            f"{name}: {_units(drift.held)} held, but its active holds have {drift.active}.{advice}",
        )
    if drift.balance_differs:
        left = "it has no movement" if drift.on_hand is None else f"its last movement left {drift.on_hand}"
        on_hand = (drift.quantity or 0) + drift.held
        yield Finding(
            "balance",
            shop,
            subject,
            f"{name}: {_units(on_hand)} on hand (sellable {drift.quantity}, held {drift.held}), but {left}.{advice}",
        )


def of_lost(lost: Lost) -> Finding:
    """Say that nobody would have ended the hold, and what has been done."""
    hold = lost.hold
    due = f"its deadline is {hold.expires_at:%Y-%m-%d %H:%M:%S} UTC"
    head = f"{hold.shop_id} hold {hold.hold_id}: active, {due}, but no workflow ran for it."
    if lost.problem is not None:
        told = f"{head} A new run could not be started: {lost.problem}."
        return Finding("lost_run", hold.shop_id, hold.hold_id, told)
    told = f"{head} A new run was started: it closes the payment, if there is one, and ends the hold at its deadline."
    return Finding("lost_run", hold.shop_id, hold.hold_id, told, mended=True)


def of_stray(ended: EndedHold) -> Finding:
    """Say that a workflow waits for a hold that has ended."""
    sentence = (
        f"{ended.shop_id} hold {ended.hold_id}: {ended.status} in the database, but its workflow"
        f" {hold_workflow_id(ended.shop_id, ended.hold_id)} still runs. `holdfast audit --repair` ends it."
    )
    return Finding("stray_run", ended.shop_id, ended.hold_id, sentence)


def repaired(finding: Finding, said: str) -> Finding:
    """Return the finding as set right, with what was done."""
    return replace(finding, sentence=f"{finding.sentence.partition(' `holdfast audit')[0]} {said}", mended=True)


def _why_not(drift: Drift) -> str:
    if drift.held is None:
        return "there is no such item"
    if drift.on_hand is None:
        return "without a movement nobody can tell how many there are; set its count"
    return f"active holds have {drift.active}, and the last movement left only {drift.on_hand}; release holds or count"


def _units(count: int) -> str:
    return f"{count} unit" if count == 1 else f"{count} units"


def _batches(subjects: Sequence[_Subject], size: int = BATCH) -> Iterator[Sequence[_Subject]]:
    for start in range(0, len(subjects), size):
        yield subjects[start : start + size]
