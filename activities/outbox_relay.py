"""The relay: hands what the outbox has to the workflows that deliver it, in order, and forgets it then."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from core.database import DatabaseBusyError, DatabaseUnavailableError
from core.metrics import Telemetry
from core.settings import Settings
from core.signals import start_signal
from inventory.outbox import BATCH, OutboxEntry, claim_batch
from workflows import ui_text
from workflows.deliveries import Channel, Event, Fall, HoldEvents, LowItem, hold_events_workflow_id
from workflows.hold_events import HoldEventsWorkflow
from workflows.low_stock import LowStockAlertWorkflow, low_stock_workflow_id

POLL_SECONDS = 1.0
"""How often an empty outbox is looked at: one statement on an empty table."""
_AGAIN_SECONDS = 5.0
"""After Postgres or Temporal was away."""
_TURN_SECONDS = 20.0
"""What Temporal has not taken by then comes again in the next turn, which may be another process's."""
_AT_ONCE = 8

Group = tuple[str, str | None, str | None, str | None]


class OutboxRelay:
    """Runs in every worker; one at a time has its turn."""

    def __init__(
        self, engine: AsyncEngine, temporal: Client, settings: Settings, telemetry: Telemetry, *, task_queue: str
    ) -> None:
        self._engine = engine
        self._temporal = temporal
        self._telemetry = telemetry
        self._task_queue = task_queue
        self._events_on = bool(settings.events_url)
        self._channels: list[Channel] = []
        if settings.alert_recipients and settings.smtp_url.get_secret_value():
            self._channels.append("mail")
        if settings.alert_url:
            self._channels.append("webhook")
        if settings.events_url:
            self._channels.append("events")

    async def run(self) -> None:
        """Hand over until cancelled, whatever is away."""
        log = structlog.get_logger("relay")
        while True:
            pause = POLL_SECONDS
            try:
                if await self.hand_over() == BATCH:
                    pause = 0
            except (DatabaseBusyError, DatabaseUnavailableError, RPCError, RuntimeError, TimeoutError) as error:
                problem = str(error) or type(error).__name__
                log.warning("events and alerts wait: they could not be handed over", problem=problem.splitlines()[0])
                pause = _AGAIN_SECONDS
            except Exception:
                log.exception("events and alerts wait: the relay failed")
                pause = _AGAIN_SECONDS
            await asyncio.sleep(pause)

    async def hand_over(self) -> int:
        """Hand over what there is and return how much it was. What fails stays, and so do those behind it."""
        async with claim_batch(self._engine, with_holds=self._events_on) as batch:
            groups: dict[Group, list[OutboxEntry]] = {}
            for entry in batch.entries:
                groups.setdefault((entry.shop_id, entry.hold_id, entry.sku, entry.variant_key), []).append(entry)
            limit = asyncio.Semaphore(_AT_ONCE)
            results: list[BaseException | None] = []

            async def each(entries: Sequence[OutboxEntry]) -> None:
                async with limit:
                    for entry in entries:
                        await self._hand_over(entry)
                        batch.done.append(entry.id)

            try:
                async with asyncio.timeout(_TURN_SECONDS):
                    results = await asyncio.gather(*map(each, groups.values()), return_exceptions=True)
            except TimeoutError as error:
                results = [error]
            count = len(batch.entries)
        # After what did succeed is gone from the outbox.
        for result in results:
            if result is not None:
                raise result
        return count

    async def _hand_over(self, entry: OutboxEntry) -> None:
        try:
            if entry.hold_id is not None:
                await self._hold(entry, entry.hold_id)
            else:
                await self._item(entry)
        except RPCError as error:
            if error.status is not RPCStatusCode.INVALID_ARGUMENT:
                raise
            # Temporal will not take it tomorrow either: those behind it must not wait for it.
            self._telemetry.fail(
                "inventory_event_lost", type=entry.type, event_id=entry.event_id, data=entry.data, problem=error.message
            )

    async def _hold(self, entry: OutboxEntry, hold_id: str) -> None:
        event = Event(entry.event_id, entry.type, entry.at, _data_of(entry))
        await self._temporal.start_workflow(
            HoldEventsWorkflow.run,
            HoldEvents(entry.shop_id, hold_id),
            id=hold_events_workflow_id(entry.shop_id, hold_id),
            task_queue=self._task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary=f"Events of hold {hold_id} of {entry.shop_id}",
            **start_signal(HoldEventsWorkflow.happened, event),
        )

    async def _item(self, entry: OutboxEntry) -> None:
        sku, variant_key = entry.sku or "", entry.variant_key or ""
        self._telemetry.count(
            "inventory_low_stock", shop_id=entry.shop_id, sku=sku, variant_key=variant_key, **entry.data
        )
        if not self._channels:
            return
        figures = {name: int(entry.data[name]) for name in ("quantity", "held", "threshold")}
        fall = Fall(entry.event_id, **figures, at=entry.at, channels=self._channels)
        await self._temporal.start_workflow(
            LowStockAlertWorkflow.run,
            LowItem(entry.shop_id, sku, variant_key),
            id=low_stock_workflow_id(entry.shop_id, sku, variant_key),
            task_queue=self._task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary=ui_text.plain(f"Low stock: {sku} {variant_key}".strip()),
            **start_signal(LowStockAlertWorkflow.fell, fall),
        )


def _data_of(entry: OutboxEntry) -> dict[str, object]:
    """Return what the receiver is told of the hold: its row as it was then, by the names of the API."""
    row = entry.data
    ended = {name: row[name] for name in ("committedAt", "releasedAt", "expiredAt") if row.get(name)}
    times = {name: _time(row[name]) for name in ("createdAt", "expiresAt", *ended)}
    return {
        "shopId": entry.shop_id,
        "holdId": entry.hold_id,
        "status": row["status"],
        "reason": row.get("reason"),
        "reference": row.get("reference"),
        "paymentIntentId": row.get("paymentIntentId"),
        **times,
        "items": [{"sku": line.sku, "variantKey": line.variant_key, "quantity": line.quantity} for line in entry.lines],
        **({"outcome": row["outcome"]} if "outcome" in row else {}),
    }


def _time(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(UTC).isoformat().replace("+00:00", "Z")
