"""Finds and repeats sales that a restored database does not contain."""

from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from core.error_messages import first_line
from domain.holds import HoldKey, HoldStatus
from holds.audit_model import LostSale, Repair
from holds.workflow_client import WorkflowClient
from holds.workflow_list import list_hold_workflows
from inventory import audit
from inventory.audit import in_batches
from workflows.hold import HoldWorkflow
from workflows.messages import HoldInput, hold_workflow_id


class LostSales:
    """Compares the sales that Temporal remembers with the database."""

    def __init__(self, engine: AsyncEngine, temporal: Client, *, task_queue: str) -> None:
        self._engine = engine
        self._temporal = temporal
        self._task_queue = task_queue
        self._workflows = WorkflowClient(temporal, task_queue)

    async def find(self, since: datetime, shop_id: str | None = None) -> list[LostSale]:
        """Return the holds committed since then that have no row, in the order of their commits.

        Temporal forgets a sale after its retention period. Raises RPCError, DatabaseBusyError and
        DatabaseUnavailableError.
        """
        query = f'HoldStatus = "committed" AND CloseTime >= "{since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"'
        sales = {
            key: LostSale(*key, run.run_id, run.close_time)
            async for runs in list_hold_workflows(self._temporal, query, shop_id)
            for key, run in runs.items()
            if run.task_queue == self._task_queue and run.close_time is not None
        }
        rows = dict[HoldKey, HoldStatus]()
        for batch in in_batches(sorted(sales)):
            rows |= await audit.statuses_of(self._engine, batch)
        lost = [sale for key, sale in sales.items() if key not in rows]
        return sorted(lost, key=lambda sale: sale.committed_at)

    async def commit_again(self, sale: LostSale) -> Repair:
        """Start a run that reserves the stock of the sale and commits it.

        If the stock is not there the run ends without a row, and the sale is found again.
        """
        handle = self._temporal.get_workflow_handle_for(
            HoldWorkflow.run, hold_workflow_id(sale.shop_id, sale.hold_id), run_id=sale.run_id
        )
        try:
            first = await anext(handle.fetch_history_events(page_size=1))
            payloads = first.workflow_execution_started_event_attributes.input.payloads
            [recorded] = await self._temporal.data_converter.decode(payloads, [HoldInput])
            sold = await handle.result(follow_runs=False)
            hold: HoldInput = replace(
                recorded,
                checkout=None,
                expires_at=None,
                ended_before="committed",
                sold_before=sold.sold,
                paid_elsewhere_before=sold.paid_elsewhere,
            )
            await self._workflows.start(hold)
        except Exception as error:  # noqa: BLE001 - it is reported, and the next sale is tried
            return Repair(first_line(error))
        return Repair()
