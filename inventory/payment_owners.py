"""Compares payments with holds: which of them has a hold that it bought, which an active one, which none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch
from domain.holds import HoldKey
from domain.payments import Payment
from inventory.payment_events import CLOSED_BY_PERSON

Ownership = Literal["bought", "listed", "settled", "active", "late", "missing", "foreign"]
"""`bought`: it bought its hold. `listed`: of a session whose hold names the PaymentIntent, too, by which it is found.
`settled`: a person has settled it. `active`: its hold waits for it. `late`: its hold has ended otherwise. `missing`:
the shop has no such hold. `foreign`: it names no hold, or a shop that is not here."""

_OWNERS = """
WITH paid AS (
  SELECT name, intent, session, shop, hold
  FROM unnest(%(names)s::text[], %(intents)s::text[], %(sessions)s::text[], %(shops)s::text[], %(holds)s::text[])
    AS p(name, intent, session, shop, hold)
)
SELECT p.name, coalesce(p.shop, h."shopId") AS shop, coalesce(p.hold, h.id) AS hold,
  CASE
    WHEN EXISTS (SELECT FROM "InventoryPaymentEvent" e WHERE e."paymentIntentId" = p.intent AND e.type = %(closed)s)
      OR p.intent IS NULL AND EXISTS (
        SELECT FROM "InventoryPaymentEvent" e
        WHERE e."shopId" = h."shopId" AND e."holdId" = h.id AND e."objectId" = p.session AND e.type = %(closed)s
      ) THEN 'settled'
    WHEN p.session IS NOT NULL AND p.hold IS NULL AND h."paymentIntentId" = p.intent THEN 'listed'
    WHEN h.id IS NULL THEN CASE
      WHEN p.shop IS NOT NULL AND (EXISTS (SELECT FROM "InventoryItem" i WHERE i."shopId" = p.shop)
                                   OR EXISTS (SELECT FROM "InventoryHold" o WHERE o."shopId" = p.shop)) THEN 'missing'
      ELSE 'foreign' END
    WHEN h.status = 'active' THEN 'active'
    WHEN h.status = 'committed' AND h.sold IS NULL AND NOT h."paidElsewhere"
      AND (h."paymentIntentId" = p.intent
           OR p.intent IS NULL AND h."paymentIntentId" IS NULL AND h."paymentSessionId" = p.session) THEN 'bought'
    ELSE 'late'
  END AS ownership
FROM paid p LEFT JOIN LATERAL (
  SELECT * FROM (
  SELECT h."shopId", h.id, h.status, h.sold, h."paidElsewhere", h."paymentIntentId", h."paymentSessionId",
         h."createdAt", 1 AS place
  FROM "InventoryHold" h WHERE h."shopId" = p.shop AND h.id = p.hold
  UNION ALL
  SELECT h."shopId", h.id, h.status, h.sold, h."paidElsewhere", h."paymentIntentId", h."paymentSessionId",
         h."createdAt", 2
  FROM "InventoryHold" h WHERE p.hold IS NULL AND h."paymentIntentId" = p.intent
  UNION ALL
  SELECT h."shopId", h.id, h.status, h.sold, h."paidElsewhere", h."paymentIntentId", h."paymentSessionId",
         h."createdAt", 3
  FROM "InventoryHold" h WHERE p.hold IS NULL AND h."paymentSessionId" = p.session
  UNION ALL
  SELECT a."shopId", a.id, a.status, nullif(a.hold -> 'sold', 'null'),
         (a.hold ->> 'paidElsewhere') IS NOT DISTINCT FROM 'true', a.hold ->> 'paymentIntentId',
         a.hold ->> 'paymentSessionId', a."createdAt", 4
  FROM "InventoryHoldArchive" a WHERE a."shopId" = p.shop AND a.id = p.hold
  ) found ORDER BY place, status = 'active' DESC, "createdAt" DESC LIMIT 1
) h ON true
"""


@dataclass(frozen=True, slots=True)
class Owner:
    """What the database knows of a payment. `key` names its hold; None where it names none."""

    ownership: Ownership
    key: HoldKey | None


async def owners_of(engine: AsyncEngine, payments: Mapping[Payment, HoldKey | None]) -> dict[str, Owner]:
    """Return the owner of each payment by its id, given with the hold that its metadata name.

    A session is given only where the PaymentIntent does not name the hold. Raises DatabaseBusyError and
    DatabaseUnavailableError.
    """
    keys: Sequence[HoldKey | None] = list(payments.values())
    parameters = {
        "names": [payment.id for payment in payments],
        "intents": [payment.payment_intent_id for payment in payments],
        "sessions": [payment.session_id for payment in payments],
        "shops": [key and key.shop_id for key in keys],
        "holds": [key and key.hold_id for key in keys],
        "closed": CLOSED_BY_PERSON,
    }
    return {
        row["name"]: Owner(row["ownership"], None if row["hold"] is None else HoldKey(row["shop"], row["hold"]))
        for row in await fetch(engine, _OWNERS, parameters)
    }
