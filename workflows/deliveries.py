"""What is told to the world: events, falls of stock, and the ports to those who deliver them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from temporalio import activity
from temporalio.common import RetryPolicy

Receiver = Literal["hold-events", "stock-alerts"]
"""HOLD_EVENTS_WEBHOOK_URL and STOCK_ALERT_WEBHOOK_URL."""

KEEP_TRYING = timedelta(days=3)
"""How long an event is tried to be delivered, from when it happened."""
ATTEMPT = timedelta(seconds=20)
"""Longer than the deliverer's own time-outs: what it could not deliver, it says."""
PATIENTLY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=10))


@dataclass(frozen=True)
class Event:
    """Something that happened, as its receiver is told of it."""

    id: str
    type: str
    occurred_at: datetime
    data: dict[str, Any]


@dataclass(frozen=True)
class Delivery:
    """An event and who is to receive it."""

    receiver: Receiver
    event: Event


@dataclass(frozen=True)
class HoldEvents:
    """The hold whose events are delivered."""

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
    at: datetime
    channels: list[Channel] = field(default_factory=list)
    """By what people are told of it."""


@dataclass(frozen=True)
class LowItem:
    """The item that somebody is told of."""

    shop_id: str
    sku: str
    variant_key: str
    quiet_until: dict[Channel, datetime] = field(default_factory=dict)
    """Of a run that goes on with an earlier one: until when nothing is told."""
    falls: dict[Channel, Fall] = field(default_factory=dict)
    """Likewise: what is to be told then, if the item is low."""
    heard: list[str] = field(default_factory=list)
    """Likewise: the falls that were heard of last."""


@dataclass(frozen=True)
class LowStock:
    """An item to look at, or what to tell of it."""

    shop_id: str
    sku: str
    variant_key: str
    fall: Fall


def hold_events_workflow_id(shop_id: str, hold_id: str) -> str:
    """Return the id of the workflow that delivers the events of a hold, one after the other."""
    return f"hold-events:{shop_id}:{hold_id}"


class EventsPort(ABC):
    """Delivery of signed events over HTTP."""

    @activity.defn(name="post-event")
    @abstractmethod
    async def post_event(self, delivery: Delivery) -> None:
        """Post the event. Raises unless its receiver has answered that it has it."""

    @activity.defn(name="give-up-event")
    @abstractmethod
    async def give_up_event(self, delivery: Delivery) -> None:
        """Tell operations of an event that could not be delivered in time."""


class AlertsPort(ABC):
    """What is told to people about low stock."""

    @activity.defn(name="mail-low-stock")
    @abstractmethod
    async def mail_low_stock(self, low: LowStock) -> None:
        """Send the mail. Raises unless the mail server has taken it."""

    @activity.defn(name="still-low")
    @abstractmethod
    async def still_low(self, low: LowStock) -> LowStock | None:
        """Return the item's figures of now if it is low, else None."""
