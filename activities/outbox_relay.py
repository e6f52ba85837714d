"""Passes the entries of the outbox, in order, to the workflows that deliver them, and deletes them then."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from core.database import DatabaseBusyError, DatabaseUnavailableError
from core.metrics import Telemetry
from core.outage_log import OutageLog
from core.settings import Settings
from core.signals import start_signal
from domain.holds import HoldKey, HoldStatus, LineResult, line_results
from holds.event_delivery import send_event
from inventory.holds import lines_from_json
from inventory.outbox import BATCH, OutboxEntry, claim_batch
from workflows import ui_text
from workflows.deliveries import Channel, Event, ShopAlerts, ShopFalls
from workflows.low_stock_digest import LowStockDigestWorkflow, low_stock_digest_workflow_id
from workflows.pending_alerts import ItemFall
from workflows.priorities import Importance, of_shop

POLL_SECONDS = 1.0
"""The interval of polling an empty outbox, which costs one statement."""
_RETRY_SECONDS = 5.0
"""The pause after Postgres or Temporal failed."""
_BATCH_SECONDS = 20.0
"""Entries that Temporal has not accepted by then are in the next batch, possibly of another process."""
_CONCURRENT_CALLS = 8
_OUTAGES = (DatabaseBusyError, DatabaseUnavailableError, RPCError, RuntimeError, TimeoutError)
"""Postgres or Temporal cannot do its part; anything else is a defect of ours."""

Group = tuple[str, str | None]
"""A shop and a hold; without a hold, all items of the shop."""


class OutboxRelay:
    """Runs in every worker; one at a time takes a batch."""

    def __init__(
        self, engine: AsyncEngine, temporal: Client, settings: Settings, telemetry: Telemetry, *, task_queue: str
    ) -> None:
        self._engine = engine
        self._temporal = temporal
        self._telemetry = telemetry
        self._task_queue = task_queue
        self._events_on = bool(settings.events_url)
        self._settings = settings
        self._channels: list[Channel] = []
        if settings.alert_recipients and settings.smtp_url.get_secret_value():
            self._channels.append("mail")
        if settings.alert_url:
            self._channels.append("webhook")
        if settings.events_url:
            self._channels.append("events")

    async def run(self) -> None:
        """Pass on entries until cancelled; failures are logged and retried."""
        outage = OutageLog(
            "relay", fails="cannot pass on events and alerts; retrying", works="events and alerts are passed on again"
        )
        while True:
            pause = POLL_SECONDS
            try:
                if await self.relay_batch() == BATCH:
                    pause = 0
            except Exception as error:  # noqa: BLE001 - whatever is wrong, it is tried again
                outage.failed(error, defect=not isinstance(error, _OUTAGES))
                pause = _RETRY_SECONDS
            else:
                outage.worked()
            await asyncio.sleep(pause)

    async def relay_batch(self) -> int:
        """Pass on a batch and return its size. An entry that fails stays, with the later ones of its hold or shop."""
        async with claim_batch(self._engine, with_holds=self._events_on) as batch:
            groups: dict[Group, list[OutboxEntry]] = {}
            for entry in batch.entries:
                groups.setdefault((entry.shop_id, entry.hold_id), []).append(entry)
            limit = asyncio.Semaphore(_CONCURRENT_CALLS)
            results: list[BaseException | None] = []

            async def relay_group(entries: Sequence[OutboxEntry]) -> None:
                async with limit:
                    for part in [entries] if entries[0].hold_id is None else [[entry] for entry in entries]:
                        await self._relay(part)
                        batch.done.extend(entry.id for entry in part)

            try:
                async with asyncio.timeout(_BATCH_SECONDS):
                    results = await asyncio.gather(*map(relay_group, groups.values()), return_exceptions=True)
            except TimeoutError as error:
                results = [error]
            count = len(batch.entries)
        # Only now, after the successful entries were deleted.
        for result in results:
            if result is not None:
                raise result
        return count

    async def _relay(self, entries: Sequence[OutboxEntry]) -> None:
        """Pass on one event of a hold, or falls of items of one shop."""
        try:
            if entries[0].hold_id is not None:
                await self._signal_hold_events(entries[0], entries[0].hold_id)
            else:
                await self._signal_low_stock(entries)
        except RPCError as error:
            if error.status is not RPCStatusCode.INVALID_ARGUMENT:
                raise
            # Temporal will always refuse it, so it must not block later entries.
            for entry in entries:
                lost = {"type": entry.type, "event_id": entry.event_id, "data": entry.data}
                self._telemetry.fail("inventory_event_lost", **lost, problem=error.message)

    async def _signal_hold_events(self, entry: OutboxEntry, hold_id: str) -> None:
        event = Event(entry.event_id, entry.type, entry.at, _data_of(entry))
        await send_event(self._temporal, self._task_queue, HoldKey(entry.shop_id, hold_id), event)

    async def _signal_low_stock(self, entries: Sequence[OutboxEntry]) -> None:
        shop_id = entries[0].shop_id
        falls = [ItemFall(entry.sku or "", entry.variant_key or "", entry.event_id, entry.at) for entry in entries]
        for fall, entry in zip(falls, entries, strict=True):
            item = {"shop_id": shop_id, "sku": fall.sku, "variant_key": fall.variant_key}
            self._telemetry.count("inventory_low_stock", **item, **entry.data)
        if not self._channels:
            return
        link = self._settings.alert_link.replace("{shopId}", shop_id)
        message = ShopFalls(falls, self._channels, self._settings.alert_window_seconds, link)
        await self._temporal.start_workflow(
            LowStockDigestWorkflow.run,
            ShopAlerts(shop_id),
            id=low_stock_digest_workflow_id(shop_id),
            task_queue=self._task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary=ui_text.plain(f"Low stock of {shop_id}"),
            priority=of_shop(shop_id, Importance.REPORT),
            **start_signal(LowStockDigestWorkflow.fell, message),
        )


def _data_of(entry: OutboxEntry) -> dict[str, object]:
    """Return the event's data: the hold's row at that time, by the names of the API."""
    row = entry.data
    ended = {name: row[name] for name in ("committedAt", "releasedAt", "expiredAt") if row.get(name)}
    times = {name: _time(row[name]) for name in ("createdAt", "expiresAt", *ended)}
    sold = None if row.get("sold") is None else lines_from_json(row["sold"])
    return {
        "shopId": entry.shop_id,
        "holdId": entry.hold_id,
        "status": row["status"],
        "reason": row.get("reason"),
        "reference": row.get("reference"),
        "paymentIntentId": row.get("paymentIntentId"),
        **({"buyer": row["buyer"]} if row.get("buyer") else {}),
        "metadata": row.get("metadata"),
        **times,
        "items": [_item(result) for result in line_results(HoldStatus(row["status"]), entry.lines, sold)],
        **({"outcome": row["outcome"]} if "outcome" in row else {}),
        **{name: _amendable(row[name]) for name in ("before", "after") if name in row},
    }


def _amendable(part: Mapping[str, Any]) -> dict[str, object]:
    """Return what an amendment can change, as it was before or after one."""
    items = [{"sku": sku, "variantKey": variant, "quantity": quantity} for sku, variant, quantity in part["items"]]
    return {**part, "items": items, "expiresAt": _time(part["expiresAt"])}


def _item(result: LineResult) -> dict[str, object]:
    item = {"sku": result.sku, "variantKey": result.variant_key, "quantity": result.quantity}
    return item | {"sold": result.sold, "givenBack": result.given_back}


def _time(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(UTC).isoformat().replace("+00:00", "Z")
