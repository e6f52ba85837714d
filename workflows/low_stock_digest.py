"""LowStockDigestWorkflow: tells people in one message which items of a shop fell to their thresholds."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta

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
    LowStockDigest,
    ShopAlerts,
    ShopFalls,
)
from workflows.hold_events import deliver
from workflows.pending_alerts import ItemFall, PendingAlerts, item_key
from workflows.run_details import RunDetails


def low_stock_digest_workflow_id(shop_id: str) -> str:
    """Return the id of a shop's workflow."""
    return f"low-stock-digest:{shop_id}"


@workflow.defn(name="LowStockDigestWorkflow")
class LowStockDigestWorkflow(RunDetails):
    """Serves the channels independently: an unavailable receiver does not delay e-mail."""

    @workflow.init
    def __init__(self, shop: ShopAlerts) -> None:
        """Start with the state of the run that this one continues, if any."""
        self._shop_id = shop.shop_id
        self._window = timedelta(seconds=shop.window_seconds)
        self._link = shop.link
        self._pending: dict[Channel, PendingAlerts] = dict(shop.pending)
        self._sending: dict[Channel, asyncio.Task[None]] = {}
        self._changed = False

    @workflow.run
    async def run(self, shop: ShopAlerts) -> None:
        """Send digests; end when nothing waits and every quiet period is over."""
        del shop  # __init__ has it
        await run_despite_cancellation(self._run(), self.note_cancellation)

    async def _run(self) -> None:
        await workflow.wait_condition(lambda: bool(self._pending))
        while True:
            self._changed = False
            self._begin_what_is_due()
            self._show()
            if not self._sending:
                if not any(pending.waiting or pending.reported for pending in self._pending.values()):
                    return
                if workflow.info().is_continue_as_new_suggested():
                    seconds = int(self._window.total_seconds())
                    workflow.continue_as_new(ShopAlerts(self._shop_id, seconds, self._link, self._pending))
            await self._wait()

    def _begin_what_is_due(self) -> None:
        now = workflow.now()
        for channel in [channel for channel, task in self._sending.items() if task.done()]:
            self._sending.pop(channel).result()  # raises what the task raised
        for channel, pending in self._pending.items():
            if channel in self._sending:
                continue
            pending.forget(now)
            due = pending.due(self._window)
            if due is not None and due <= now:
                self._sending[channel] = asyncio.create_task(self._send(channel, pending))

    async def _wait(self) -> None:
        """Wait for a message, the end of a delivery, or the time when something is due."""
        unsent = [pending for channel, pending in self._pending.items() if channel not in self._sending]
        due = _first(pending.due(self._window) for pending in unsent)
        if due is None and not self._sending:
            due = _last(pending.quiet_until() for pending in unsent)
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._changed or any(task.done() for task in self._sending.values()),
                timeout=None if due is None else due - workflow.now(),
                timeout_summary="next digest, or end of the quiet period",
            )

    async def _send(self, channel: Channel, pending: PendingAlerts) -> None:
        falls, unlisted = pending.take(workflow.now())
        digest = await self._read(falls, unlisted)
        if digest.items:
            await self._deliver(channel, digest)
        low = {item_key(item.sku, item.variant_key) for item in digest.items}
        pending.finish(falls, low, workflow.now(), self._window)

    async def _read(self, falls: list[ItemFall], unlisted: int) -> LowStockDigest:
        """Return what there is to tell of these falls: the items that are still low, and their figures."""
        digest = LowStockDigest(self._shop_id, falls[0].event_id, workflow.now(), self._link, unlisted=unlisted)
        return await workflow.execute_activity_method(
            AlertsPort.read_low_items,
            args=[digest, falls],
            summary="read which items are still low",
            start_to_close_timeout=ATTEMPT_TIMEOUT,
            retry_policy=UNLIMITED_RETRIES,
        )

    async def _deliver(self, channel: Channel, digest: LowStockDigest) -> None:
        if channel == "mail":
            await workflow.execute_activity_method(
                AlertsPort.mail_low_stock_digest,
                digest,
                summary=f"send the mail about {len(digest.items)} items",
                start_to_close_timeout=ATTEMPT_TIMEOUT,
                retry_policy=UNLIMITED_RETRIES,
            )
        else:
            event = Event(digest.event_id, "stock.low", digest.at, data_of(digest))
            await deliver(Delivery("stock-alerts" if channel == "webhook" else "hold-events", event))

    @checked_signal(description="Items fell to their thresholds or below")
    def fell(self, message: ShopFalls) -> None:
        """Record the falls for each channel."""
        self._window = timedelta(seconds=message.window_seconds)
        self._link = message.link
        for channel in message.channels:
            pending = self._pending.setdefault(channel, PendingAlerts())
            for fall in message.falls:
                pending.add(fall, workflow.now(), self._window)
        self._changed = True

    def _show(self) -> None:
        lines = [f"Low stock of {ui_text.plain(self._shop_id)}.", ""]
        for channel, pending in self._pending.items():
            due = pending.due(self._window)
            state = "is being sent" if channel in self._sending else f"next {due:%Y-%m-%d %H:%M} UTC" if due else "idle"
            counts = f"{len(pending.waiting)} items wait, {len(pending.reported)} are in their quiet period"
            lines.append(f"- {channel}: {state}; {counts}")
        self.show_step("\n".join(lines))


def data_of(digest: LowStockDigest) -> dict[str, object]:
    """Return the data of the `stock.low` event. The first item's fields stand beside the list, as in release 0.1."""
    items = [
        {
            "sku": item.sku,
            "variantKey": item.variant_key,
            "name": item.name,
            "quantity": item.quantity,
            "held": item.held,
            "lowStockThreshold": item.threshold,
        }
        for item in digest.items
    ]
    first = {name: value for name, value in items[0].items() if name != "name"}
    return {"shopId": digest.shop_id, **first, "items": items, "unlisted": digest.unlisted, "link": digest.link}


def _first(times: Iterable[datetime | None]) -> datetime | None:
    return min((time for time in times if time is not None), default=None)


def _last(times: Iterable[datetime | None]) -> datetime | None:
    return max((time for time in times if time is not None), default=None)
