"""Compares payments with holds: which of them has a hold that it bought, which an active one, which none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch
from domain.holds import HoldKey
from inventory.payment_events import CLOSED_BY_PERSON

Ownership = Literal["bought", "settled", "active", "late", "missing", "foreign"]
"""`bought`: it bought its hold. `settled`: a person has settled it. `active`: its hold waits for it. `late`: its hold
has ended otherwise. `missing`: the shop has no such hold. `foreign`: it names no hold, or a shop that is not here."""

_OWNERS = """
WITH paid AS (
  SELECT intent, shop, hold
  FROM unnest(%(intents)s::text[], %(shops)s::text[], %(holds)s::text[]) AS p(intent, shop, hold)
)
SELECT p.intent, coalesce(p.shop, h."shopId") AS shop, coalesce(p.hold, h.id) AS hold,
  CASE
    WHEN EXISTS (SELECT FROM "InventoryPaymentEvent" e WHERE e."paymentIntentId" = p.intent AND e.type = %(closed)s)
      THEN 'settled'
    WHEN h.id IS NULL THEN CASE
      WHEN p.shop IS NOT NULL AND (EXISTS (SELECT FROM "InventoryItem" i WHERE i."shopId" = p.shop)
                                   OR EXISTS (SELECT FROM "InventoryHold" o WHERE o."shopId" = p.shop)) THEN 'missing'
      ELSE 'foreign' END
    WHEN h.status = 'active' THEN 'active'
    WHEN h.status = 'committed' AND h.sold IS NULL AND NOT h."paidElsewhere" AND h."paymentIntentId" = p.intent
      THEN 'bought'
    ELSE 'late'
  END AS ownership
FROM paid p LEFT JOIN LATERAL (
  SELECT h."shopId", h.id, h.status, h.sold, h."paidElsewhere", h."paymentIntentId", 1 AS place
  FROM "InventoryHold" h WHERE h."shopId" = p.shop AND h.id = p.hold
  UNION ALL
  SELECT h."shopId", h.id, h.status, h.sold, h."paidElsewhere", h."paymentIntentId", 2
  FROM "InventoryHold" h WHERE p.hold IS NULL AND h."paymentIntentId" = p.intent
  UNION ALL
  SELECT a."shopId", a.id, a.status, nullif(a.hold -> 'sold', 'null'),
         (a.hold ->> 'paidElsewhere') IS NOT DISTINCT FROM 'true', a.hold ->> 'paymentIntentId', 3
  FROM "InventoryHoldArchive" a WHERE a."shopId" = p.shop AND a.id = p.hold
  ORDER BY place LIMIT 1
) h ON true
"""


@dataclass(frozen=True, slots=True)
class Owner:
    """What the database knows of a payment. `key` names its hold; None where it names none."""

    ownership: Ownership
    key: HoldKey | None


async def owners_of(engine: AsyncEngine, payments: Mapping[str, HoldKey | None]) -> dict[str, Owner]:
    """Return the owner of each PaymentIntent, given with the hold that its metadata name.

    Raises DatabaseBusyError and DatabaseUnavailableError.
    """
    intents: Sequence[str] = list(payments)
    keys = list(payments.values())
    parameters = {
        "intents": intents,
        "shops": [key and key.shop_id for key in keys],
        "holds": [key and key.hold_id for key in keys],
        "closed": CLOSED_BY_PERSON,
    }
    return {
        row["intent"]: Owner(row["ownership"], None if row["hold"] is None else HoldKey(row["shop"], row["hold"]))
        for row in await fetch(engine, _OWNERS, parameters)
    }
