"""The cases of late payments: of an order, and of a hold."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowQueryFailedError,
)
from temporalio.service import RPCError

from core.settings import Settings
from domain.holds import Hold
from holds.temporal_ui import workflow_url
from workflows.late_payment import LatePaymentWorkflow
from workflows.payment_messages import LatePaymentEnded, late_payment_workflow_id
from workflows.search_attributes import LATE_PAYMENT_HOLD, searchable

_MOST = 100
"""Cases of an order."""
_MOST_OF_SHOP = 1000
"""Cases of a shop among which those of a hold are looked for, the newest."""


@dataclass(frozen=True, slots=True)
class LateCase:
    """A late payment: its state is a sentence."""

    payment_id: str
    is_open: bool
    state: str
    opened_at: datetime
    closed_at: datetime | None
    url: str


class LateCases:
    """Reads the cases that Temporal still has, the oldest first."""

    def __init__(self, temporal: Client, settings: Settings) -> None:
        self._temporal = temporal
        self._ui = settings.temporal_ui_url

    async def of_reference(self, shop_id: str, reference: str) -> list[LateCase]:
        """Return the cases of the holds with this reference. Raises RPCError and RuntimeError."""
        text = searchable(reference).replace("\\", "\\\\").replace("'", "\\'")
        query = f"WorkflowType = 'LatePaymentWorkflow' AND ShopId = '{shop_id}' AND HoldReference = '{text}'"
        return await self._read([run async for run in self._temporal.list_workflows(query, limit=_MOST)])

    async def of_hold(self, hold: Hold) -> list[LateCase]:
        """Return the cases of the hold. Raises RPCError and RuntimeError."""
        since = f"{hold.created_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        query = f"WorkflowType = 'LatePaymentWorkflow' AND ShopId = '{hold.shop_id}' AND StartTime >= '{since}'"
        runs = [run async for run in self._temporal.list_workflows(query, limit=_MOST_OF_SHOP)]
        # One that an earlier release started has no memo: it is found by the payment in the hold's row.
        own = None if hold.payment is None else late_payment_workflow_id(hold.payment.id)
        of_it = [run for run in runs if run.id == own or await run.memo_value(LATE_PAYMENT_HOLD, None) == hold.hold_id]
        return await self._read(of_it)

    async def _read(self, runs: list[WorkflowExecution]) -> list[LateCase]:
        return sorted([await self._case(run) for run in runs], key=lambda case: case.opened_at)

    async def _case(self, run: WorkflowExecution) -> LateCase:
        handle = self._temporal.get_workflow_handle_for(LatePaymentWorkflow.run, run.id, run_id=run.run_id)
        is_open = run.status is WorkflowExecutionStatus.RUNNING
        if is_open:
            state = await _state_of_open(handle)
        elif run.status is WorkflowExecutionStatus.COMPLETED:
            ended = await handle.result(follow_runs=False)
            state = f"{ended.outcome.replace('_', ' ').capitalize()}. {ended.detail}".strip()
        else:
            state = f"Its workflow was {run.status.name.lower() if run.status else 'lost'}."
        url = workflow_url(self._ui, self._temporal.namespace, run.id)
        return LateCase(run.id.partition(":")[2], is_open, state, run.start_time, run.close_time, url)


async def _state_of_open(handle: WorkflowHandle[LatePaymentWorkflow, LatePaymentEnded]) -> str:
    try:
        async with asyncio.timeout(1):
            return await handle.query(LatePaymentWorkflow.state)
    except (TimeoutError, RPCError, WorkflowQueryFailedError):  # no worker answers
        return "Open. No worker tells what it waits for."
