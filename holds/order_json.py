"""The story of an order as JSON: in the API's answer and the command line's `--json`."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field

from core.json_model import Model, Record
from holds.event_delivery import DeliveryState, EventDelivery
from holds.hold_json import HoldOut
from holds.orders import HoldStory, OrderStory, PaymentStory


class ChangeOut(Record):
    """Something that happened to a hold."""

    at: datetime
    what: Annotated[str, Field(description="For people.")]
    actor: str | None
    reason: str | None
    detail: str | None


class HoldStoryOut(Model):
    """A hold and what happened to it, in order of time."""

    hold: HoldOut
    changes: list[ChangeOut]
    workflow_url: Annotated[str, Field(description="Its workflow in the Temporal UI.")]
    events_url: Annotated[str, Field(description="The deliveries of its events in the Temporal UI.")]

    @classmethod
    def of(cls, story: HoldStory) -> Self:
        """Build it from the story of a hold."""
        return cls(
            hold=HoldOut.of(story.hold),
            changes=[ChangeOut.of(change) for change in story.changes],
            workflowUrl=story.url,
            eventsUrl=story.events_url,
        )


class PaymentEventOut(Record):
    """A refund, a dispute, a part of a payment, or a late payment that a person has settled."""

    event_id: str
    type: Annotated[str, Field(description="Stripe's type of the event, or `late_payment.` with an outcome.")]
    occurred_at: datetime
    object_id: Annotated[str | None, Field(description="Stripe's id of the refund, dispute or charge.")]
    amount: Annotated[int | None, Field(description="In the currency's smallest unit.")]
    currency: str | None
    status: str | None
    reason: str | None


class OrderPaymentOut(Model):
    """A payment for a hold, and what Stripe's events reported of it."""

    hold_id: str
    payment_intent_id: str | None
    checkout_session_id: str | None
    bought: Annotated[bool, Field(description="Whether it bought the hold.")]
    failed_attempts: int
    last_report: str | None
    last_report_at: datetime | None
    events: Annotated[
        list[PaymentEventOut], Field(description="Its refunds, disputes and parts, in order of time.")
    ] = Field(default_factory=list)

    @classmethod
    def of(cls, story: PaymentStory) -> Self:
        """Build it from the story of a payment."""
        return cls(
            holdId=story.hold_id,
            paymentIntentId=story.payment.payment_intent_id,
            checkoutSessionId=story.payment.session_id,
            bought=story.bought,
            failedAttempts=story.failed_attempts,
            lastReport=story.last_report,
            lastReportAt=story.last_report_at,
            events=[PaymentEventOut.of(event) for event in story.events],
        )


class LatePaymentOut(Record):
    """A payment for a hold that it did not buy; `state` is a sentence."""

    payment_id: str
    is_open: bool
    state: str
    opened_at: datetime
    closed_at: datetime | None
    url: str


class DeliveryOut(Model):
    """An event and what became of it."""

    hold_id: str
    event_id: Annotated[str, Field(description="The `webhook-id` with which it is sent.")]
    type: str
    occurred_at: datetime
    state: DeliveryState
    attempts: int
    delivered_at: Annotated[datetime | None, Field(description="When the receiver acknowledged it.")]
    failure: Annotated[str | None, Field(description="Why the last failed attempt did.")]

    @classmethod
    def of(cls, delivery: EventDelivery) -> Self:
        """Build it from a delivery."""
        return cls(
            holdId=delivery.hold_id,
            eventId=delivery.event.id,
            type=delivery.event.type,
            occurredAt=delivery.event.occurred_at,
            state=delivery.state,
            attempts=delivery.attempts,
            deliveredAt=delivery.delivered_at,
            failure=delivery.failure,
        )


class OrderOut(Model):
    """Everything about an order; what Temporal's retention has deleted is left out."""

    shop_id: str
    reference: str
    holds: list[HoldStoryOut]
    payments: list[OrderPaymentOut]
    late_payments: list[LatePaymentOut]
    deliveries: list[DeliveryOut]

    @classmethod
    def of(cls, story: OrderStory) -> Self:
        """Build it from the story of an order."""
        return cls(
            shopId=story.shop_id,
            reference=story.reference,
            holds=[HoldStoryOut.of(hold) for hold in story.holds],
            payments=[OrderPaymentOut.of(payment) for payment in story.payments],
            latePayments=[LatePaymentOut.of(case) for case in story.late_payments],
            deliveries=[DeliveryOut.of(delivery) for delivery in story.deliveries],
        )

    def dump(self) -> dict[str, Any]:
        """Return the JSON."""
        return self.model_dump(mode="json", by_alias=True)


class ResentOut(Model):
    """The events that are delivered again."""

    resent: int
