"""The statements of an import and an export, in the order in which they run."""

from inventory.stock_file import MAX_PROBLEMS

STATEMENT_MS = 30_000
"""The time-out of one statement in milliseconds; 100,000 rows take about a second."""
SESSION_LIMITS = (
    f"SET LOCAL statement_timeout = {STATEMENT_MS}",
    "SET LOCAL jit = off",
    "SET LOCAL work_mem = '64MB'",  # 100,000 rows are sorted and joined in memory while items are locked
)
CREATE_TABLES = (
    "DROP TABLE IF EXISTS pg_temp.import_row, pg_temp.import_report",
    """
    CREATE TEMP TABLE import_row (line int NOT NULL, "shopId" text NOT NULL, sku text NOT NULL,
      "variantKey" text NOT NULL, "productId" text, "onHand" int NOT NULL, "lowStockThreshold" int)
    """,
    """
    CREATE TEMP TABLE import_report (line int NOT NULL, known bool NOT NULL, "onHand" int, "productId" text,
      "lowStockThreshold" int, quantity int NOT NULL, held int NOT NULL)
    """,
)

# With the index no plan compares all rows with all items, even where the server's statistics are wrong.
INDEX_ROWS = ('CREATE INDEX ON import_row ("shopId", sku, "variantKey")', "ANALYZE import_row")

DUPLICATES = f"""
SELECT line, first FROM (
  SELECT line, min(line) OVER (PARTITION BY "shopId", sku, "variantKey") AS first FROM import_row
) numbered WHERE line <> first ORDER BY line LIMIT {MAX_PROBLEMS}
"""  # noqa: S608 - constants

_KEY = 'i."shopId" = r."shopId" AND i.sku = r.sku AND i."variantKey" = r."variantKey"'
_DIFFERS = """
  (i.quantity + i.held, i."productId", i."lowStockThreshold")
    IS DISTINCT FROM (r."onHand", r."productId", r."lowStockThreshold")
"""
_VALUES = """
  jsonb_build_object('onHand', {0}."onHand", 'productId', {0}."productId", 'lowStockThreshold', {0}."lowStockThreshold")
"""
_BELOW = f"""
  SELECT line, "shopId", sku, "variantKey", "onHand", held FROM below ORDER BY line LIMIT {MAX_PROBLEMS}
"""  # noqa: S608 - constants

PREVIEW = f"""
WITH current AS MATERIALIZED (
  SELECT r.*, i.sku IS NOT NULL AS known, i.quantity + i.held AS old, i."productId" AS product,
         i."lowStockThreshold" AS threshold, coalesce(i.held, 0) AS held
  FROM import_row r LEFT JOIN "InventoryItem" i ON {_KEY}
), below AS (
  SELECT * FROM current WHERE "onHand" < held
), report AS (
  INSERT INTO import_report SELECT line, known, old, product, threshold, "onHand" - held, held FROM current
  WHERE "onHand" >= held
)
SELECT (SELECT json_agg(b) FROM ({_BELOW}) b) AS below, 0 AS missed
"""  # noqa: S608 - constants

# An item that already has the values of the file is not locked, nor written.
APPLY = f"""
WITH locked AS MATERIALIZED (
  SELECT r.*, i.held, i.quantity + i.held AS old, i."productId" AS product, i."lowStockThreshold" AS threshold
  FROM "InventoryItem" i JOIN import_row r ON {_KEY} WHERE {_DIFFERS}
  ORDER BY i."shopId", i.sku, i."variantKey" FOR NO KEY UPDATE OF i
), below AS MATERIALIZED (
  SELECT * FROM locked WHERE "onHand" < held
), fresh AS MATERIALIZED (
  SELECT r.* FROM import_row r WHERE NOT EXISTS (SELECT FROM "InventoryItem" i WHERE {_KEY})
), made AS (
  INSERT INTO "InventoryItem" ("shopId", sku, "variantKey", "productId", quantity, "lowStockThreshold")
  SELECT "shopId", sku, "variantKey", "productId", "onHand", "lowStockThreshold" FROM fresh
  WHERE NOT EXISTS (SELECT FROM below) ORDER BY "shopId", sku, "variantKey"
  ON CONFLICT DO NOTHING
  RETURNING 1
), moved AS (
  UPDATE "InventoryItem" i SET quantity = r."onHand" - r.held, held = r.held, "productId" = r."productId",
      "lowStockThreshold" = r."lowStockThreshold", "updatedAt" = now()
  FROM locked r WHERE {_KEY} AND NOT EXISTS (SELECT FROM below)
), ledger AS (
  INSERT INTO "InventoryMovement" ("shopId", sku, "variantKey", kind, delta, "onHand", actor, reason)
  SELECT "shopId", sku, "variantKey", 'count', delta, "onHand", %(actor)s, 'import' FROM (
    SELECT "shopId", sku, "variantKey", "onHand" - old AS delta, "onHand" FROM locked WHERE "onHand" <> old
    UNION ALL SELECT "shopId", sku, "variantKey", "onHand", "onHand" FROM fresh WHERE "onHand" > 0
  ) changes WHERE NOT EXISTS (SELECT FROM below)
), report AS (
  INSERT INTO import_report
  SELECT line, true, old, product, threshold, "onHand" - held, held FROM locked
  UNION ALL SELECT line, false, NULL, NULL, NULL, "onHand", 0 FROM fresh
)
SELECT (SELECT json_agg(b) FROM ({_BELOW}) b) AS below,
       (SELECT count(*) FROM fresh) - (SELECT count(*) FROM made) AS missed
"""  # noqa: S608 - constants

# An item without a row in import_report had the values of the file. As no printable value has the quote or the
# delimiter, this CSV is the plain JSON of each row.
REPORT = f"""
COPY (
  SELECT json_build_object(
    'line', r.line, 'shopId', r."shopId", 'sku', r.sku, 'variantKey', r."variantKey",
    'result', CASE WHEN w.was = n.now THEN 'unchanged' WHEN w.was IS NULL THEN 'created' ELSE 'changed' END,
    'before', w.was, 'after', n.now, 'quantity', coalesce(p.quantity, i.quantity), 'held', coalesce(p.held, i.held))
  FROM import_row r CROSS JOIN LATERAL (SELECT {_VALUES.format("r")} AS now) n
  LEFT JOIN import_report p USING (line)
  LEFT JOIN "InventoryItem" i ON p.line IS NULL AND {_KEY}
  CROSS JOIN LATERAL (
    SELECT CASE WHEN p.line IS NULL THEN n.now WHEN p.known THEN {_VALUES.format("p")} END AS was) w
  ORDER BY r.line
) TO STDOUT WITH (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')
"""  # noqa: S608 - constants

EXPORT = """
COPY (
  SELECT "shopId", {sku} AS sku, {variant} AS "variantKey", {product} AS "productId", quantity + held AS "onHand",
         "lowStockThreshold"
  FROM "InventoryItem" i WHERE "shopId" = {shop} ORDER BY i.sku, i."variantKey"
) TO STDOUT WITH (FORMAT csv, HEADER)
"""
