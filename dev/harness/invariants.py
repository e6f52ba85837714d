"""Invariants of the stock that hold whenever no transaction runs."""

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch

_BROKEN = """
WITH lines AS (
  SELECT l."shopId", l.sku, l."variantKey", sum(l.quantity) AS active
  FROM "InventoryHoldItem" l JOIN "InventoryHold" h ON h."shopId" = l."shopId" AND h.id = l."holdId"
  WHERE h.status = 'active' GROUP BY l."shopId", l.sku, l."variantKey"
), sums AS (
  SELECT "shopId", sku, "variantKey", sum(delta) AS moved, (array_agg("onHand" ORDER BY id DESC))[1] AS last_on_hand
  FROM "InventoryMovement" GROUP BY "shopId", sku, "variantKey"
), stock AS (
  SELECT "shopId", sku, "variantKey", i.quantity, i.held, coalesce(active, 0) AS active, coalesce(moved, 0) AS moved,
         coalesce(last_on_hand, 0) AS last_on_hand
  FROM "InventoryItem" i
  FULL JOIN lines USING ("shopId", sku, "variantKey")
  FULL JOIN sums USING ("shopId", sku, "variantKey")
)
SELECT 'stock' AS what, to_jsonb(stock) AS row FROM stock
WHERE (quantity >= 0 AND held >= 0 AND held = active AND quantity + held = moved AND moved = last_on_hand) IS NOT TRUE
UNION ALL
SELECT 'hold', to_jsonb(h) FROM "InventoryHold" h
WHERE num_nonnulls(h."committedAt", h."releasedAt", h."expiredAt") <> CASE h.status WHEN 'active' THEN 0 ELSE 1 END
   OR (h.status = 'committed') <> (h."committedAt" IS NOT NULL)
   OR (h.status = 'released') <> (h."releasedAt" IS NOT NULL)
   OR (h.status = 'expired') <> (h."expiredAt" IS NOT NULL)
UNION ALL
SELECT 'hold without lines', to_jsonb(h) FROM "InventoryHold" h
WHERE NOT EXISTS (SELECT FROM "InventoryHoldItem" l WHERE l."shopId" = h."shopId" AND l."holdId" = h.id)
UNION ALL
SELECT 'sold more than held', to_jsonb(h) FROM "InventoryHold" h
CROSS JOIN LATERAL jsonb_to_recordset(h.sold) AS part(sku text, "variantKey" text, quantity int)
WHERE h.status <> 'committed' OR part.quantity > (
  SELECT coalesce(sum(l.quantity), 0) FROM "InventoryHoldItem" l WHERE l."shopId" = h."shopId" AND l."holdId" = h.id
    AND l.sku = part.sku AND l."variantKey" = part."variantKey")
UNION ALL
SELECT 'commit without movement, or the reverse', jsonb_build_object('hold', coalesce(c."holdId", m."holdId"))
FROM (SELECT h."shopId", h.id AS "holdId", s.n FROM "InventoryHold" h CROSS JOIN LATERAL (
        SELECT sum(quantity) AS n FROM (
          SELECT quantity FROM "InventoryHoldItem" WHERE "shopId" = h."shopId" AND "holdId" = h.id AND h.sold IS NULL
          UNION ALL SELECT quantity FROM jsonb_to_recordset(h.sold) AS part(quantity int)) units) s
      WHERE h.status = 'committed') c
FULL JOIN (SELECT "shopId", "holdId", -sum(delta) AS n FROM "InventoryMovement"
           WHERE kind = 'commit' GROUP BY "shopId", "holdId") m USING ("shopId", "holdId")
WHERE c.n IS DISTINCT FROM m.n
  AND NOT EXISTS (SELECT FROM "InventoryHoldArchive" a WHERE a."shopId" = m."shopId" AND a.id = m."holdId")
"""


async def broken_rules(engine: AsyncEngine) -> list[str]:
    """Return each violation, one line each."""
    return [f"{row['what']}: {row['row']}" for row in await fetch(engine, _BROKEN, {})]


async def assert_stock_adds_up(engine: AsyncEngine) -> None:
    """Assert: held = active lines, on hand = movements = last balance, nothing below 0, each hold has one end."""
    assert await broken_rules(engine) == []
