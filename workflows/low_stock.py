"""LowStockAlertWorkflow: alerted people of one item. New falls go to LowStockDigestWorkflow.

Runs that an earlier release started may wait for the end of their quiet period, with a fall to report then.
"""

import asyncio
from collections import deque
from dataclasses import replace
from datetime import timedelta

from temporalio import workflow

from workflows import ui_text
from workflows.cancellation import run_despite_cancellation
from workflows.checked_messages import checked_signal
from workflows.deliveries import (
    ATTEMPT_TIMEOUT,
    UNLIMITED_RETRIES,
    AlertsPort,
    Channel,
    Delivery,
    Event,
    Fall,
    LowItem,
    LowStock,
)
from workflows.hold_events import deliver
from workflows.pending_alerts import QUIET_PERIOD
from workflows.run_details import RunDetails

_REMEMBERED = 100
"""The outbox delivers a fall a second time within seconds, if at all."""


@workflow.defn(name="LowStockAlertWorkflow")
class LowStockAlertWorkflow(RunDetails):
    """Serves the channels independently: an unavailable receiver does not delay e-mail."""

    @workflow.init
    def __init__(self, item: LowItem) -> None:
        """Start with the state of the run that this one continues, if any."""
        self._item = item
        self._falls: dict[Channel, Fall] = dict(item.falls)
        self._quiet_until = dict(item.quiet_until)
        self._received = deque(item.heard, maxlen=_REMEMBERED)
        self._busy: set[Channel] = set()
        """Channels with an activity under way, which continue-as-new must not interrupt."""
        self._serving: dict[Channel, asyncio.Task[None]] = {}

    @workflow.run
    async def run(self, item: LowItem) -> None:
        """Alert; end when no channel has a fall and every quiet period is over."""
        del item
        await run_despite_cancellation(self._alert_all(), self.note_cancellation)

    async def _alert_all(self) -> None:
        if not self._quiet_until:
            await workflow.wait_condition(lambda: bool(self._falls))
        for channel in self._quiet_until:
            self._serving[channel] = asyncio.create_task(self._serve(channel))
        while True:
            for channel in self._finished():
                self._serving.pop(channel).result()  # raises what the task raised
            for channel in [c for c in self._falls if c not in self._serving]:
                self._serving[channel] = asyncio.create_task(self._serve(channel))
            if not self._serving:
                return
            if self._history_is_long():
                workflow.continue_as_new(
                    replace(
                        self._item,
                        quiet_until=dict(self._quiet_until),
                        falls=dict(self._falls),
                        heard=list(self._received),
                    )
                )
            self._show()
            await workflow.wait_condition(self._has_work)

    def _has_work(self) -> bool:
        unserved = any(channel not in self._serving for channel in self._falls)
        return bool(self._finished()) or unserved or self._history_is_long()

    def _history_is_long(self) -> bool:
        """Return whether to continue as new, which keeps the quiet periods."""
        return workflow.info().is_continue_as_new_suggested() and not self._busy

    def _finished(self) -> list[Channel]:
        return [channel for channel, task in self._serving.items() if task.done()]

    async def _serve(self, channel: Channel) -> None:
        """Alert by this channel, wait for the quiet period, and alert again if the item fell meanwhile and is low."""
        while True:
            if channel in self._quiet_until:
                await workflow.sleep(
                    max(self._quiet_until[channel] - workflow.now(), timedelta(0)),
                    summary=f"quiet period of {channel}",
                )
                del self._quiet_until[channel]
                if channel not in self._falls:
                    return
                self._busy.add(channel)
                fall = await self._still_low(self._falls.pop(channel))
            else:
                self._busy.add(channel)
                fall = self._falls.pop(channel)
            if fall is not None:
                self._show()
                await self._alert(channel, fall)
                self._quiet_until[channel] = workflow.now() + QUIET_PERIOD
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
                summary="send the low-stock mail",
                start_to_close_timeout=ATTEMPT_TIMEOUT,
                retry_policy=UNLIMITED_RETRIES,
            )
        else:
            event = Event(fall.event_id, "stock.low", fall.at, data_of(low))
            await deliver(Delivery("stock-alerts" if channel == "webhook" else "hold-events", event))

    async def _still_low(self, fall: Fall) -> Fall | None:
        low = await workflow.execute_activity_method(
            AlertsPort.still_low,
            LowStock(self._item.shop_id, self._item.sku, self._item.variant_key, fall),
            summary="check whether the item is still low",
            start_to_close_timeout=ATTEMPT_TIMEOUT,
            retry_policy=UNLIMITED_RETRIES,
        )
        return low.fall if low is not None else None

    @checked_signal(description="The item's quantity fell to its threshold or below")
    def fell(self, fall: Fall) -> None:
        """Record the fall for each channel. It replaces an earlier one that has not been alerted yet."""
        if fall.event_id not in self._received:
            self._received.append(fall.event_id)
            self._falls.update(dict.fromkeys(fall.channels, fall))

    def _show(self) -> None:
        name = ui_text.plain(f"{self._item.shop_id} {self._item.sku} {self._item.variant_key}".strip())
        busy = ", ".join(f"{channel} is being sent" for channel in sorted(self._busy))
        quiet = ", ".join(f"{c}: quiet until {at:%Y-%m-%d %H:%M} UTC" for c, at in sorted(self._quiet_until.items()))
        self.show_step(f"{name}. {busy}{'. ' if busy and quiet else ''}{quiet}")


def data_of(low: LowStock) -> dict[str, object]:
    """Return the data of the `stock.low` event."""
    return {
        "shopId": low.shop_id,
        "sku": low.sku,
        "variantKey": low.variant_key,
        "quantity": low.fall.quantity,
        "held": low.fall.held,
        "lowStockThreshold": low.fall.threshold,
    }
