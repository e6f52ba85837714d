"""The data of a shop that has used Holdfast for two weeks: its items, and 20,000 holds that have ended."""

import psycopg

from bench.load import ITEMS, SHOP

_ENDED = 20_000

# Only columns of the first migration, which every checkout has. Without ended holds the first plans are those of empty
# tables: they read all that there is, so that each turn is slower than the one before, until the tables are analyzed.
_FILL = (
    """
    INSERT INTO "InventoryItem" ("shopId", sku, quantity)
    SELECT %(shop)s, 'SKU-' || to_char(n, 'FM0000'), 1000000 FROM generate_series(0, %(items)s - 1) n
    ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO "InventoryMovement" ("shopId", sku, kind, delta, "onHand", actor)
    SELECT i."shopId", i.sku, 'count', i.quantity, i.quantity, 'bench' FROM "InventoryItem" i
    WHERE NOT EXISTS (SELECT FROM "InventoryMovement" m WHERE m."shopId" = i."shopId" AND m.sku = i.sku)
    """,
    """
    INSERT INTO "InventoryHold" (id, "shopId", status, "expiresAt", "createdAt", "releasedAt")
    SELECT 'ended-' || n, %(shop)s, 'released', at, at, at
    FROM (SELECT n, now() - n * interval '1 minute' AS at FROM generate_series(1, %(ended)s) n) hold
    """,
    """
    INSERT INTO "InventoryHoldItem" ("holdId", "shopId", sku, quantity)
    SELECT 'ended-' || n, %(shop)s, 'SKU-' || to_char(n %% %(items)s, 'FM0000'), 1 FROM generate_series(1, %(ended)s) n
    """,
    "VACUUM ANALYZE",
    "CHECKPOINT",
)


def fill(database_url: str) -> None:
    """Put items and ended holds into a migrated database, and let Postgres count them."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        for statement in _FILL:
            parameters = {"shop": SHOP, "items": ITEMS, "ended": _ENDED} if "%(" in statement else None
            connection.execute(statement.encode(), parameters)
