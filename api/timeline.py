"""What callers are told of where an item's stock went."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field

from api import cursor
from api.responses import ItemOut
from core.json_model import Model
from domain.holds import HoldStatus
from inventory.timeline import Timeline, TimelineEntry

Kind = Literal["hold", "receive", "adjust", "count", "commit", "restock"]


class EntryOut(Model):
    """A movement of what is on hand, or a hold by when it was made."""

    at: datetime
    kind: Annotated[Kind, Field(description="`hold`: units were set aside. All others changed what is on hand.")]
    delta: Annotated[int, Field(description="The change of what is on hand; 0 for a hold.")]
    on_hand: Annotated[int, Field(description="What was on hand after it.")]
    quantity: Annotated[int, Field(description="The units that moved, or that the hold took.")]
    held: Annotated[int, Field(description="What the hold has now; 0 once it has ended, and for a movement.")]
    actor: str | None
    reason: str | None
    idempotency_key: str | None
    hold_id: str | None
    hold_status: HoldStatus | None
    hold_ended_at: datetime | None
    reference: str | None
    checkout_session_id: str | None
    payment_intent_id: str | None

    @classmethod
    def of(cls, entry: TimelineEntry) -> Self:
        """Translate."""
        return cls.model_validate(
            {
                "at": entry.at,
                "kind": entry.kind,
                "delta": entry.delta,
                "onHand": entry.on_hand,
                "quantity": entry.quantity,
                "held": entry.held,
                "actor": entry.actor,
                "reason": entry.reason,
                "idempotencyKey": entry.idempotency_key,
                "holdId": entry.hold_id,
                "holdStatus": entry.hold_status,
                "holdEndedAt": entry.hold_ended_at,
                "reference": entry.reference,
                "checkoutSessionId": entry.checkout_session_id,
                "paymentIntentId": entry.payment_intent_id,
            }
        )


class TimelineOut(Model):
    """The item as it is now, and what led to it, newest first."""

    item: ItemOut
    entries: list[EntryOut]
    next_cursor: str | None

    @classmethod
    def of(cls, timeline: Timeline) -> Self:
        """Translate."""
        after = timeline.next_after
        return cls(
            item=ItemOut.of(timeline.item),
            entries=[EntryOut.of(entry) for entry in timeline.entries],
            nextCursor=None if after is None else cursor.encode(str(after.movement_id), str(after.line_id)),
        )
