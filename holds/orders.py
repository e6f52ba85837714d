"""One story for each order: its holds, payments, late payments and events, from the database and from Temporal."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.service import RPCError

from core.settings import Settings
from domain.holds import Hold, HoldStatus
from domain.payments import Payment
from holds.errors import OrderNotFoundError
from holds.event_delivery import EventDelivery, background_task_queue, deliveries_of, send_event, to_resend
from holds.late_cases import LateCase, LateCases
from holds.request_timeout import run_for_caller
from holds.sent_messages import SentMessage, messages_sent
from holds.temporal_errors import classified
from holds.temporal_ui import workflow_url
from inventory.amend import Amendment, amendments_of
from inventory.hold_search import HoldFilter, find_holds
from inventory.payment_events import PaymentEvent, payment_events_of
from inventory.returns import Returned, returns_of
from workflows.deliveries import hold_events_workflow_id
from workflows.messages import hold_workflow_id

_MOST_HOLDS = 50
"""Of one page of holds, and of late payments."""
_READS_AT_ONCE = 3

_SENT = {
    "commit": "a commit was requested",
    "commit_as_told": "a commit was requested",
    "record_commit": "a commit was requested",
    "release": "a release was requested",
    "cancel": "a release was requested",
    "extend": "an extension was requested",
    "attach": "a payment was attached",
    "amend": "a change was requested",
    "make_way": "another hold was to take over its units",
    "payment_succeeded": "a payment was reported as paid",
    "payment_failed": "an attempt to pay was reported as failed",
    "payment_processing": "a payment was reported as processing",
}


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened to a hold."""

    at: datetime
    what: str
    actor: str | None = None
    reason: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class HoldStory:
    """A hold and what happened to it, in order of time."""

    hold: Hold
    changes: Sequence[Change]
    url: str
    """Its workflow in the Temporal UI."""
    events_url: str


@dataclass(slots=True)
class PaymentStory:
    """A payment for a hold, and what was reported of it."""

    hold_id: str
    payment: Payment
    bought: bool
    """Whether the hold's row says that it bought the hold."""
    failed_attempts: int = 0
    last_report: str | None = None
    last_report_at: datetime | None = None
    events: list[PaymentEvent] = field(default_factory=list)
    """Its refunds, disputes and parts, in order of time."""


@dataclass(frozen=True, slots=True)
class OrderStory:
    """Everything about an order, the holds in order of time."""

    shop_id: str
    reference: str
    holds: Sequence[HoldStory]
    payments: Sequence[PaymentStory]
    late_payments: Sequence[LateCase]
    deliveries: Sequence[EventDelivery]


@dataclass(slots=True)
class _OfHold:
    """What was read of one hold."""

    hold: Hold
    amended: Sequence[Amendment] = ()
    returned: Sequence[Returned] = ()
    payment_events: Sequence[PaymentEvent] = ()
    messages: Sequence[SentMessage] = ()
    deliveries: Sequence[EventDelivery] = field(default_factory=list)


class OrderService:
    """Reads the story of an order, and delivers its events again. What Temporal has deleted since is left out."""

    def __init__(self, engine: AsyncEngine, temporal: Client, settings: Settings, task_queue: str) -> None:
        self._engine = engine
        self._temporal = temporal
        self._settings = settings
        self._task_queue = task_queue
        self._late_cases = LateCases(temporal, settings)

    async def story(self, shop_id: str, reference: str) -> OrderStory:
        """Return the order's story.

        Raises OrderNotFoundError, RequestTimeoutError, TemporalUnavailableError, TemporalBusyError,
        DatabaseBusyError and DatabaseUnavailableError.
        """
        return await run_for_caller(self._settings.request_timeout_ms, self._story(shop_id, reference))

    async def _story(self, shop_id: str, reference: str) -> OrderStory:
        holds = await self._holds(shop_id, reference)
        try:
            a_few = asyncio.Semaphore(_READS_AT_ONCE)  # others need connections to Postgres, too
            found = await asyncio.gather(*(self._read(hold, a_few) for hold in holds))
            late = await self._late_cases.of_reference(shop_id, reference)
        except (RPCError, RuntimeError) as error:
            raise classified(error) from error
        return OrderStory(
            shop_id,
            reference,
            [
                HoldStory(
                    each.hold,
                    sorted(_changes(each), key=lambda change: change.at),
                    self._url(hold_workflow_id(*each.hold.key)),
                    self._url(hold_events_workflow_id(*each.hold.key)),
                )
                for each in found
            ],
            [payment for each in found for payment in _payments(each)],
            late,
            [delivery for each in found for delivery in each.deliveries],
        )

    async def resend(self, shop_id: str, reference: str) -> int:
        """Deliver the order's events again, with their ids, and return their number. Raises as `story`."""
        return await run_for_caller(self._settings.request_timeout_ms, self._resend(shop_id, reference))

    async def _resend(self, shop_id: str, reference: str) -> int:
        sent = 0
        try:
            for hold in await self._holds(shop_id, reference):
                for event in to_resend(await deliveries_of(self._temporal, hold.key)):
                    await send_event(self._temporal, background_task_queue(self._task_queue), hold.key, event)
                    sent += 1
        except (RPCError, RuntimeError) as error:
            raise classified(error) from error
        return sent

    async def _holds(self, shop_id: str, reference: str) -> list[Hold]:
        holds = list[Hold]()
        for archived in (False, True):
            after = None
            while True:
                wanted = HoldFilter(reference=reference, archived=archived)
                page = await find_holds(self._engine, shop_id, wanted, limit=_MOST_HOLDS, after=after)
                holds += page.holds
                if (after := page.next_after) is None:
                    break
        holds.sort(key=lambda hold: hold.created_at)
        if not holds:
            raise OrderNotFoundError(shop_id, reference)
        return holds

    async def _read(self, hold: Hold, a_few: asyncio.Semaphore) -> _OfHold:
        async with a_few:
            return _OfHold(
                hold,
                await amendments_of(self._engine, hold.shop_id, hold.hold_id) if hold.revision else (),
                await returns_of(self._engine, hold.shop_id, hold.hold_id),
                await payment_events_of(self._engine, hold.key),
                await messages_sent(self._temporal, hold.key),
                await deliveries_of(self._temporal, hold.key),
            )

    def _url(self, workflow_id: str) -> str:
        return workflow_url(self._settings.temporal_ui_url, self._temporal.namespace, workflow_id)


def _changes(of: _OfHold) -> Iterable[Change]:
    hold = of.hold
    yield Change(hold.created_at, "the stock was held", hold.created_by)
    for message in of.messages:
        yield _sent(message)
    for made in of.amended:
        yield Change(made.at, "the hold was changed", made.actor, detail=_difference(made) or None)
    ended_at = hold.committed_at or hold.released_at or hold.expired_at
    if ended_at is not None:
        sold = hold.status is HoldStatus.COMMITTED and hold.sold is not None
        how = (" in part" if sold else "") + (" as paid elsewhere" if hold.paid_elsewhere else "")
        yield Change(ended_at, f"the hold was {hold.status}{how}", hold.ended_by, hold.reason)
    for back in of.returned:
        units = f"{back.quantity} x {back.sku} {back.variant_key}".rstrip()
        yield Change(back.at, "units were returned", back.actor, back.reason, units)
    if hold.archived_at is not None:
        yield Change(hold.archived_at, "the hold was archived")


def _difference(made: Amendment) -> str:
    """Return what a change of a hold changed, for people."""
    names = {"items": "items", "reference": "reference", "buyer": "buyer", "expiresAt": "deadline"}
    changed = (name for name in names if made.before.get(name) != made.after.get(name))
    return "; ".join(f"{names[name]}: {_told(made.before[name])} -> {_told(made.after[name])}" for name in changed)


def _told(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(f"{units} x {sku} {variant}".rstrip() for sku, variant, units in value)
    return "none" if value is None else str(value)


def _sent(message: SentMessage) -> Change:
    by_stripe = "payment_" in message.name
    details = [message.payment.id] if message.payment is not None else []
    if message.data.get("ttl_seconds") is not None:
        details.append(f"{message.data['ttl_seconds']} s")
    return Change(
        message.at,
        _SENT.get(message.name, message.name),
        message.text("actor") or ("stripe" if by_stripe else None),
        message.text("reason"),
        ", ".join(details) or None,
    )


def _payments(of: _OfHold) -> list[PaymentStory]:
    """Return the payments that the row, a message or an event names, each once."""
    hold, stories = of.hold, list[PaymentStory]()

    def story_of(payment: Payment) -> PaymentStory:
        for story in stories:
            if story.payment.is_same(payment):
                intent = story.payment.payment_intent_id or payment.payment_intent_id
                story.payment = Payment(intent, story.payment.session_id or payment.session_id)
                return story
        stories.append(PaymentStory(hold.hold_id, payment, payment.bought(hold.bought_by)))
        return stories[-1]

    if hold.payment is not None:
        story_of(hold.payment)
    failed = set[str | None]()  # an event may have come both as update and as signal
    for message in of.messages:
        if message.payment is not None:
            story = story_of(message.payment)
            if message.name == "payment_failed":
                event_id = message.text("event_id")
                story.failed_attempts += event_id is None or event_id not in failed
                failed.add(event_id)
            story.last_report, story.last_report_at = _SENT.get(message.name, message.name), message.at
    for event in of.payment_events:
        if event.payment_intent_id is not None:
            story_of(Payment(event.payment_intent_id)).events.append(event)
    return stories
