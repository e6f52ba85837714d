"""The messages of event delivery and low-stock alerts, and the ports to the activities that deliver them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import AwareDatetime
from temporalio import activity
from temporalio.common import RetryPolicy

from workflows.pending_alerts import ItemFall, PendingAlerts

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


@dataclass(frozen=True)
class ShopFalls:
    """Falls of a shop's items, and how to alert people of them."""

    falls: list[ItemFall]
    channels: list[Channel]
    window_seconds: int
    """What falls within it is told in one message."""
    link: str = ""
    """The page where people see the shop's low stock; empty if there is none."""


@dataclass(frozen=True)
class ShopAlerts:
    """The input of LowStockDigestWorkflow. The fields with defaults are the state that a continued run starts with."""

    shop_id: str
    window_seconds: int = 0
    link: str = ""
    pending: dict[Channel, PendingAlerts] = field(default_factory=dict)


@dataclass(frozen=True)
class LowItemFigures:
    """An item that is low, with its figures of now."""

    sku: str
    variant_key: str
    name: str
    """The product and its variant for people; empty if the item has no `name`, `productId` and `variantAttributes`."""
    quantity: int
    held: int
    threshold: int


@dataclass(frozen=True)
class LowStockDigest:
    """What one message tells of a shop's low items, those with the fewest units first."""

    shop_id: str
    event_id: str
    """Identifies the message, also when it is repeated."""
    at: datetime
    link: str = ""
    items: list[LowItemFigures] = field(default_factory=list)
    unlisted: int = 0
    """Falls of further items, which are not in `items`."""


def hold_events_workflow_id(shop_id: str, hold_id: str) -> str:
    """Return the id of a hold's HoldEventsWorkflow."""
    return f"hold-events:{shop_id}:{hold_id}"


POST_EVENT = "post-event"
"""The name of the activity that posts an event, as histories have it."""


class EventsPort(ABC):
    """Delivers signed events over HTTP."""

    @activity.defn(name=POST_EVENT)
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

    @activity.defn(name="read-low-items")
    @abstractmethod
    async def read_low_items(self, digest: LowStockDigest, falls: list[ItemFall]) -> LowStockDigest:
        """Return the digest with those of the items that are still low, and their current figures."""

    @activity.defn(name="mail-low-stock-digest")
    @abstractmethod
    async def mail_low_stock_digest(self, digest: LowStockDigest) -> None:
        """Send the mail. Raises ApplicationError unless the mail server accepted it."""
