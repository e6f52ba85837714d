"""What Stripe reported of payments and what people decided about them, kept for the story of the order."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch
from domain.holds import HoldKey

CLOSED_BY_PERSON = "late_payment.closed_by_person"
"""The type of the record that a person has settled a late payment: nobody has to look at that payment again."""

_KNOWN_HOLD = """
  EXISTS (SELECT FROM "InventoryHold" WHERE "shopId" = %(shop)s AND id = %(hold)s)
  OR EXISTS (SELECT FROM "InventoryHoldArchive" WHERE "shopId" = %(shop)s AND id = %(hold)s)
"""

_RECORD = f"""
INSERT INTO "InventoryPaymentEvent" ("shopId", "holdId", "eventId", type, "paymentIntentId", "objectId", amount,
                                     currency, status, reason, "occurredAt")
SELECT %(shop)s, %(hold)s, %(event)s, %(type)s, %(intent)s, %(object)s, %(amount)s::bigint,
       %(currency)s, %(status)s, %(reason)s, %(at)s
WHERE %(any)s OR {_KNOWN_HOLD}
ON CONFLICT DO NOTHING RETURNING "eventId"
"""

_OF_HOLD = """
SELECT * FROM "InventoryPaymentEvent" WHERE "shopId" = %(shop)s AND "holdId" = %(hold)s
ORDER BY "occurredAt", "createdAt", "eventId"
"""

# A dispute names no hold, and comes when the hold may be archived or bought by another payment.
_FIND_KEY = """
SELECT "shopId", id FROM (
  SELECT "shopId", id, 1 AS place, "createdAt" FROM "InventoryHold"
  WHERE "paymentIntentId" = %(intent)s OR "paymentSessionId" = %(session)s
  UNION ALL
  SELECT "shopId", id, 2, "createdAt" FROM "InventoryHoldArchive" WHERE hold ->> 'paymentIntentId' = %(intent)s
  UNION ALL
  SELECT "shopId", "holdId", 3, "createdAt" FROM "InventoryPaymentEvent" WHERE "paymentIntentId" = %(intent)s
) found ORDER BY place, "createdAt" DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class PaymentEvent:
    """Something that happened to a payment beside its hold: a refund, a dispute, a part that was captured."""

    event_id: str
    type: str
    """Stripe's type of the event, or `late_payment.` with an outcome."""
    occurred_at: datetime
    payment_intent_id: str | None = None
    object_id: str | None = None
    """The id of the refund, dispute or charge."""
    amount: int | None = None
    """In the currency's smallest unit."""
    currency: str | None = None
    status: str | None = None
    reason: str | None = None


async def record_payment_event(
    engine: AsyncEngine, key: HoldKey, event: PaymentEvent, *, of_any_hold: bool = False
) -> None:
    """Keep the event with the hold, once for each event's id; `of_any_hold`: also if there is no such hold.

    Raises DatabaseBusyError and DatabaseUnavailableError.
    """
    parameters = {
        "shop": key.shop_id,
        "hold": key.hold_id,
        "event": event.event_id,
        "type": event.type,
        "intent": event.payment_intent_id,
        "object": event.object_id,
        "amount": event.amount,
        "currency": event.currency,
        "status": event.status,
        "reason": event.reason,
        "at": event.occurred_at,
        "any": of_any_hold,
    }
    await fetch(engine, _RECORD, parameters)


async def payment_events_of(engine: AsyncEngine, key: HoldKey) -> Sequence[PaymentEvent]:
    """Return the events that were kept with the hold, in order of time."""
    return [
        PaymentEvent(
            event_id=row["eventId"],
            type=row["type"],
            occurred_at=row["occurredAt"],
            payment_intent_id=row["paymentIntentId"],
            object_id=row["objectId"],
            amount=row["amount"],
            currency=row["currency"],
            status=row["status"],
            reason=row["reason"],
        )
        for row in await fetch(engine, _OF_HOLD, {"shop": key.shop_id, "hold": key.hold_id})
    ]


async def find_hold_of_payment(engine: AsyncEngine, *, session_id: str | None, intent_id: str | None) -> HoldKey | None:
    """Return the hold that has or had the payment, archived ones too; None where the database knows none."""
    rows = await fetch(engine, _FIND_KEY, {"session": session_id, "intent": intent_id})
    return HoldKey(rows[0]["shopId"], rows[0]["id"]) if rows else None
