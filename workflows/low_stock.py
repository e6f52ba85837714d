"""LowStockAlertWorkflow: tells people that an item is low, once, and then not for a day."""

import asyncio
import hashlib
from collections import deque
from dataclasses import replace
from datetime import timedelta

from temporalio import workflow

from workflows import ui_text
from workflows.deliveries import (
    ATTEMPT,
    PATIENTLY,
    AlertsPort,
    Channel,
    Delivery,
    Event,
    Fall,
    LowItem,
    LowStock,
)
from workflows.hold_events import deliver

QUIET = timedelta(hours=24)
"""After an alert, how long the same item gives no other."""

_REMEMBERED = 100
"""A fall is handed over again seconds after the first time, if at all."""
_LONGEST_ID = 900
"""Bytes; Temporal takes 1,000."""


def low_stock_workflow_id(shop_id: str, sku: str, variant_key: str) -> str:
    """Return the id of the workflow of an item. A colon in the sku is written otherwise, so no two items share one."""
    escaped = sku.replace("%", "%25").replace(":", "%3A")
    name = f"low-stock:{shop_id}:{escaped}:{variant_key}"
    if len(name.encode()) <= _LONGEST_ID:
        return name
    return f"low-stock:{shop_id}:{hashlib.sha256(name.encode()).hexdigest()}"


@workflow.defn(name="LowStockAlertWorkflow")
class LowStockAlertWorkflow:
    """Serves each channel by itself: a receiver that is away keeps no mail back."""

    @workflow.init
    def __init__(self, item: LowItem) -> None:
        """Begin where an earlier run left off, if there was one."""
        self._item = item
        self._falls: dict[Channel, Fall] = dict(item.falls)
        self._quiet_until = dict(item.quiet_until)
        self._heard = deque(item.heard, maxlen=_REMEMBERED)
        self._busy: set[Channel] = set()
        """Channels that look or deliver at this moment, and must not be cut off."""
        self._serving: dict[Channel, asyncio.Task[None]] = {}

    @workflow.run
    async def run(self, item: LowItem) -> None:
        """Alert; end when no channel has anything to tell and the day after the last alert is over."""
        del item
        if not self._quiet_until:
            await workflow.wait_condition(lambda: bool(self._falls))
        for channel in self._quiet_until:
            self._serving[channel] = asyncio.create_task(self._serve(channel))
        while True:
            for channel in self._ended():
                self._serving.pop(channel).result()  # what it raised is raised here
            for channel in [c for c in self._falls if c not in self._serving]:
                self._serving[channel] = asyncio.create_task(self._serve(channel))
            if not self._serving:
                return
            if self._has_grown():
                workflow.continue_as_new(
                    replace(
                        self._item,
                        quiet_until=dict(self._quiet_until),
                        falls=dict(self._falls),
                        heard=list(self._heard),
                    )
                )
            self._show()
            await workflow.wait_condition(self._has_news)

    def _has_news(self) -> bool:
        unserved = any(channel not in self._serving for channel in self._falls)
        return bool(self._ended()) or unserved or self._has_grown()

    def _has_grown(self) -> bool:
        """Tell whether many falls in one day have made the history long: a new run keeps the silence of that day."""
        return workflow.info().is_continue_as_new_suggested() and not self._busy

    def _ended(self) -> list[Channel]:
        return [channel for channel, task in self._serving.items() if task.done()]

    async def _serve(self, channel: Channel) -> None:
        """Alert by this channel, be silent for a day, and alert again if the item has fallen meanwhile and is low."""
        while True:
            if channel in self._quiet_until:
                await workflow.sleep(
                    max(self._quiet_until[channel] - workflow.now(), timedelta(0)),
                    summary=f"no other {channel} about this item",
                )
                del self._quiet_until[channel]
                if channel not in self._falls:
                    return
                self._busy.add(channel)
                fall = await self._look_again(self._falls.pop(channel))
            else:
                self._busy.add(channel)
                fall = self._falls.pop(channel)
            if fall is not None:
                self._show()
                await self._alert(channel, fall)
                self._quiet_until[channel] = workflow.now() + QUIET
            self._busy.discard(channel)
            if fall is None:
                return
            self._show()

    async def _alert(self, channel: Channel, fall: Fall) -> None:
        low = LowStock(self._item.shop_id, self._item.sku, self._item.variant_key, fall)
        if channel == "mail":
            await workflow.execute_activity_method(
                AlertsPort.mail_low_stock,
                low,
                summary="mail that the item is low",
                start_to_close_timeout=ATTEMPT,
                retry_policy=PATIENTLY,  # until the mail server takes it
            )
        else:
            event = Event(fall.event_id, "stock.low", fall.at, data_of(low))
            await deliver(Delivery("stock-alerts" if channel == "webhook" else "hold-events", event))

    async def _look_again(self, fall: Fall) -> Fall | None:
        low = await workflow.execute_activity_method(
            AlertsPort.still_low,
            LowStock(self._item.shop_id, self._item.sku, self._item.variant_key, fall),
            summary="is it low still?",
            start_to_close_timeout=ATTEMPT,
            retry_policy=PATIENTLY,
        )
        return low.fall if low is not None else None

    @workflow.signal(description="The item's quantity fell to its threshold or below")
    def fell(self, fall: Fall) -> None:
        """Note the fall, for each channel; of several that nobody was told of, the last."""
        if fall.event_id not in self._heard:
            self._heard.append(fall.event_id)
            self._falls.update(dict.fromkeys(fall.channels, fall))

    def _show(self) -> None:
        name = ui_text.plain(f"{self._item.sku} {self._item.variant_key}".strip())
        busy = ", ".join(f"{channel} is being sent" for channel in sorted(self._busy))
        quiet = ", ".join(f"{c}: silent until {at:%Y-%m-%d %H:%M} UTC" for c, at in sorted(self._quiet_until.items()))
        workflow.set_current_details(f"{self._item.shop_id} {name}. {busy}{'. ' if busy and quiet else ''}{quiet}")


def data_of(low: LowStock) -> dict[str, object]:
    """Return what a receiver is told of the item."""
    return {
        "shopId": low.shop_id,
        "sku": low.sku,
        "variantKey": low.variant_key,
        "quantity": low.fall.quantity,
        "held": low.fall.held,
        "lowStockThreshold": low.fall.threshold,
    }
