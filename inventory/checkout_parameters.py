"""The encrypted parameters of Checkout Sessions, while their holds last."""

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch

_KEEP = """
INSERT INTO "InventoryCheckoutParameters" (id, "shopId", "holdId", sealed)
VALUES (%(id)s, %(shop)s, %(hold)s, %(sealed)s)
ON CONFLICT DO NOTHING
"""

_READ = 'SELECT sealed FROM "InventoryCheckoutParameters" WHERE id = %(id)s'

# Without a row of the hold: it was refused or archived, or its stock is not taken yet, which takes no longer than the
# caller waits.
_DELETE = """
DELETE FROM "InventoryCheckoutParameters" p
WHERE CASE (SELECT h.status = 'active' FROM "InventoryHold" h WHERE h."shopId" = p."shopId" AND h.id = p."holdId")
      WHEN true THEN false
      WHEN false THEN true
      ELSE p."createdAt" < clock_timestamp() - interval '10 minutes'
      END
RETURNING id
"""


async def keep_parameters(engine: AsyncEngine, parameters_id: str, shop_id: str, hold_id: str, sealed: bytes) -> None:
    """Keep the parameters of a session of the hold, which may not exist yet."""
    await fetch(engine, _KEEP, {"id": parameters_id, "shop": shop_id, "hold": hold_id, "sealed": sealed})


async def read_parameters(engine: AsyncEngine, parameters_id: str) -> bytes | None:
    """Return the parameters, or None once the hold has ended."""
    rows = await fetch(engine, _READ, {"id": parameters_id})
    return bytes(rows[0]["sealed"]) if rows else None


async def delete_parameters_of_ended_holds(engine: AsyncEngine) -> int:
    """Delete the parameters of holds that have ended or were never made, and return how many."""
    return len(await fetch(engine, _DELETE, {}))
