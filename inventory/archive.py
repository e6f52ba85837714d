"""The archive of ended holds: a table apart, so that the table of holds stays small."""

from collections.abc import AsyncIterator
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch

BATCH = 500
"""The holds that one statement moves: it takes some tens of milliseconds, so that checkouts do not wait for it."""

# An ended hold that is locked now, by a return or a late payment, is moved by the next run.
_MOVE = """
WITH chosen AS MATERIALIZED (
  SELECT "shopId", id FROM "InventoryHold"
  WHERE "createdAt" < %(before)s AND status <> 'active'
    AND coalesce("committedAt", "releasedAt", "expiredAt", "updatedAt") < %(before)s
    AND (%(shop)s::text IS NULL OR "shopId" = %(shop)s)
  ORDER BY "createdAt" LIMIT %(batch)s
  FOR UPDATE SKIP LOCKED
), kept AS (
  INSERT INTO "InventoryHoldArchive" ("shopId", id, "createdAt", status, hold, lines)
  SELECT h."shopId", h.id, h."createdAt", h.status,
         to_jsonb(h) || coalesce((
           SELECT jsonb_build_object('amendments', jsonb_agg(to_jsonb(a) - 'shopId' - 'holdId' ORDER BY a."createdAt"))
           FROM "InventoryHoldAmendment" a WHERE a."holdId" = h.id AND a."shopId" = h."shopId"
           HAVING count(*) > 0), '{}'),
         (SELECT coalesce(jsonb_agg(to_jsonb(l) ORDER BY l.sku, l."variantKey"), '[]')
          FROM "InventoryHoldItem" l WHERE l."holdId" = h.id AND l."shopId" = h."shopId")
  FROM "InventoryHold" h JOIN chosen USING ("shopId", id)
  ON CONFLICT DO NOTHING
), gone AS (
  DELETE FROM "InventoryHold" h USING chosen c WHERE h."shopId" = c."shopId" AND h.id = c.id RETURNING 1
)
SELECT count(*) AS moved FROM gone
"""

_COUNT = """
SELECT status, count(*) AS holds FROM "InventoryHoldArchive"
WHERE "createdAt" >= %(since)s AND (%(shop)s::text IS NULL OR "shopId" = %(shop)s)
GROUP BY status
"""


async def archive_holds(engine: AsyncEngine, *, before: datetime, shop_id: str | None = None) -> AsyncIterator[int]:
    """Move the holds that were created and ended before that time, with their lines; yield the size of each batch.

    Movements are not moved: the stock is the sum of them. Each batch is its own transaction, so an interrupted run can
    be repeated. Raises DatabaseBusyError and DatabaseUnavailableError.
    """
    parameters = {"before": before, "shop": shop_id, "batch": BATCH}
    while moved := (await fetch(engine, _MOVE, parameters))[0]["moved"]:
        yield moved


async def archived_by_status(engine: AsyncEngine, *, since: datetime, shop_id: str | None = None) -> dict[str, int]:
    """Return the number of archived holds created since then, by status."""
    rows = await fetch(engine, _COUNT, {"since": since, "shop": shop_id})
    return {row["status"]: row["holds"] for row in rows}
