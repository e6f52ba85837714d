"""The messages of event delivery and low-stock alerts, and the ports to the activities that deliver them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import AwareDatetime
from temporalio import activity
from temporalio.common import RetryPolicy

Receiver = Literal["hold-events", "stock-alerts"]
"""HOLD_EVENTS_WEBHOOK_URL and STOCK_ALERT_WEBHOOK_URL."""

MAX_EVENT_AGE = timedelta(days=3)
"""An event is given up this long after it occurred."""
ATTEMPT_TIMEOUT = timedelta(seconds=20)
"""Longer than the HTTP and SMTP time-outs, so that an attempt fails with its own error."""
UNLIMITED_RETRIES = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=10))


@dataclass(frozen=True)
class Event:
    """An event as it is sent to its receiver."""

    id: str
    type: str
    occurred_at: AwareDatetime
    data: dict[str, Any]


@dataclass(frozen=True)
class Delivery:
    """An event and its receiver."""

    receiver: Receiver
    event: Event


@dataclass(frozen=True)
class HoldEvents:
    """The input of HoldEventsWorkflow."""

    shop_id: str
    hold_id: str


Channel = Literal["mail", "webhook", "events"]


@dataclass(frozen=True)
class Fall:
    """An item's quantity fell to its threshold or below."""

    event_id: str
    quantity: int
    held: int
    threshold: int
    at: AwareDatetime
    channels: list[Channel] = field(default_factory=list)
    """The channels to alert."""


@dataclass(frozen=True)
class LowItem:
    """The input of LowStockAlertWorkflow. The fields with defaults are the state that a continued run starts with."""

    shop_id: str
    sku: str
    variant_key: str
    quiet_until: dict[Channel, datetime] = field(default_factory=dict)
    """The end of the quiet period, by channel."""
    falls: dict[Channel, Fall] = field(default_factory=dict)
    """The last fall during the quiet period, by channel."""
    heard: list[str] = field(default_factory=list)
    """The ids of the last falls that were received."""


@dataclass(frozen=True)
class LowStock:
    """An item that is low."""

    shop_id: str
    sku: str
    variant_key: str
    fall: Fall


def hold_events_workflow_id(shop_id: str, hold_id: str) -> str:
    """Return the id of a hold's HoldEventsWorkflow."""
    return f"hold-events:{shop_id}:{hold_id}"


class EventsPort(ABC):
    """Delivers signed events over HTTP."""

    @activity.defn(name="post-event")
    @abstractmethod
    async def post_event(self, delivery: Delivery) -> None:
        """Post the event. Raises ApplicationError unless the receiver acknowledged it with 2xx."""

    @activity.defn(name="give-up-event")
    @abstractmethod
    async def give_up_event(self, delivery: Delivery) -> None:
        """Report an event that could not be delivered in time."""


class AlertsPort(ABC):
    """Alerts people of low stock."""

    @activity.defn(name="mail-low-stock")
    @abstractmethod
    async def mail_low_stock(self, low: LowStock) -> None:
        """Send the mail. Raises ApplicationError unless the mail server accepted it."""

    @activity.defn(name="still-low")
    @abstractmethod
    async def still_low(self, low: LowStock) -> LowStock | None:
        """Return the item's current figures if it is still low, else None."""
