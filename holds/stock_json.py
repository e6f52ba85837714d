"""Stock as JSON: in the API's responses and the command line's `--json`."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from core.json_model import Model, Record
from domain.holds import HoldStatus
from inventory.timeline import Timeline

Kind = Literal["hold", "amend", "receive", "adjust", "count", "commit", "restock"]


class ItemOut(Record):
    """An item's stock. `quantity` is available, `held` is in active holds, `onHand` is their sum."""

    shop_id: str
    sku: str
    variant_key: str
    product_id: str | None
    name: Annotated[str | None, Field(description="The product, in words for people.")]
    variant_attributes: dict[str, Any] | None
    quantity: int
    held: int
    on_hand: int
    low_stock_threshold: int | None
    retired: Annotated[bool, Field(description="No new hold can have it.")]
    max_per_order: Annotated[int | None, Field(description="The most units of it in one hold.")]
    max_per_buyer: Annotated[int | None, Field(description="The most units of it that one buyer can have.")]
    updated_at: datetime


class EntryOut(Record):
    """A movement of the units on hand, a hold by its creation, or an amendment of a hold."""

    at: datetime
    kind: Annotated[
        Kind,
        Field(description="`hold`: units were reserved. `amend`: a hold was changed. All others: the units on hand."),
    ]
    delta: Annotated[int, Field(description="The change of the units on hand; 0 for `hold` and `amend`.")]
    on_hand: Annotated[int, Field(description="The units on hand after it.")]
    quantity: Annotated[
        int, Field(description="The units that moved, or that the hold has; of `amend`, that it had then.")
    ]
    held: Annotated[int, Field(description="The units of an active hold; 0 once it has ended, and for a movement.")]
    sold: Annotated[int, Field(description="The units that a hold sold when it was committed; 0 for a movement.")]
    given_back: Annotated[int, Field(description="The units that a hold gave back when it ended; 0 for a movement.")]
    actor: str | None
    reason: str | None
    idempotency_key: str | None
    hold_id: str | None
    hold_status: HoldStatus | None
    hold_ended_at: datetime | None
    reference: str | None
    checkout_session_id: str | None
    payment_intent_id: str | None
    before: Annotated[int | None, Field(description="Of `amend`: the units that the hold had before it.")] = None


class TimelineOut(Model):
    """The item as it is now, and its movements, holds and amendments, newest first."""

    item: ItemOut
    entries: list[EntryOut]
    next_cursor: str | None

    @classmethod
    def of(cls, timeline: Timeline, next_cursor: str | None = None) -> Self:
        """Build it from a page of a timeline."""
        return cls(
            item=ItemOut.of(timeline.item),
            entries=[EntryOut.of(entry) for entry in timeline.entries],
            nextCursor=next_cursor,
        )
