"""The statements of an import and an export, in the order in which they run."""

from inventory.stock_file import KEPT_LIMIT, MAX_PROBLEMS

STATEMENT_MS = 30_000
"""The time-out of one statement in milliseconds; 100,000 rows take about a second."""
SESSION_LIMITS = (
    f"SET LOCAL statement_timeout = {STATEMENT_MS}",
    "SET LOCAL jit = off",
    "SET LOCAL work_mem = '64MB'",  # 100,000 rows are sorted and joined in memory while items are locked
)
CREATE_TABLES = (
    "DROP TABLE IF EXISTS pg_temp.import_row, pg_temp.import_report, pg_temp.import_nearest",
    """
    CREATE TEMP TABLE import_row (line int NOT NULL, "shopId" text NOT NULL, sku text NOT NULL,
      "variantKey" text NOT NULL, "productId" text, "onHand" int NOT NULL, "lowStockThreshold" int,
      name text, "hasName" bool NOT NULL, "maxPerOrder" int, "maxPerBuyer" int)
    """,
    """
    CREATE TEMP TABLE import_report (line int NOT NULL, known bool NOT NULL, "onHand" int, "productId" text,
      "lowStockThreshold" int, quantity int NOT NULL, held int NOT NULL, name text, "maxPerOrder" int,
      "maxPerBuyer" int)
    """,
    'CREATE TEMP TABLE import_nearest (line int PRIMARY KEY, sku text NOT NULL, "variantKey" text NOT NULL)',
)
DROP_TABLES = "DROP TABLE import_row, import_report, import_nearest"

# With the index no plan compares all rows with all items, even where the server's statistics are wrong.
INDEX_ROWS = ('CREATE INDEX ON import_row ("shopId", sku, "variantKey")', "ANALYZE import_row")

DUPLICATES = f"""
SELECT line, first FROM (
  SELECT line, min(line) OVER (PARTITION BY "shopId", sku, "variantKey") AS first FROM import_row
) numbered WHERE line <> first ORDER BY line LIMIT {MAX_PROBLEMS}
"""  # noqa: S608 - constants

_KEY = 'i."shopId" = r."shopId" AND i.sku = r.sku AND i."variantKey" = r."variantKey"'
_IS_NEW = f'NOT EXISTS (SELECT FROM "InventoryItem" i WHERE {_KEY})'

# The joins below are on expressions, for which no index helps: they must be hashed, whatever the statistics say.
HASH_JOINS = "SET LOCAL enable_nestloop = off"
ALL_JOINS = "SET LOCAL enable_nestloop = on"

# A spreadsheet that takes a text for a number removes its leading zeros.
LOST_ZEROS = f"""
WITH fresh AS MATERIALIZED (
  SELECT * FROM import_row r
  WHERE (r.sku ~ '^[0-9]+$' OR r."variantKey" ~ '^[0-9]+$') AND {_IS_NEW}
)
SELECT line, "column", existing FROM (
  SELECT r.line, CASE WHEN i.sku = r.sku THEN 'variantKey' ELSE 'sku' END AS "column",
         CASE WHEN i.sku = r.sku THEN i."variantKey" ELSE i.sku END AS existing
  FROM fresh r JOIN "InventoryItem" i ON i."shopId" = r."shopId"
    AND ltrim(i.sku, '0') = ltrim(r.sku, '0') AND ltrim(i."variantKey", '0') = ltrim(r."variantKey", '0')
  WHERE length(i.sku) >= length(r.sku) AND length(i."variantKey") >= length(r."variantKey")
    AND (i.sku = r.sku OR r.sku ~ '^[0-9]+$') AND (i."variantKey" = r."variantKey" OR r."variantKey" ~ '^[0-9]+$')
  UNION ALL
  SELECT r.line, 'productId', i."productId" FROM import_row r JOIN "InventoryItem" i ON {_KEY}
  WHERE r."productId" ~ '^[0-9]+$' AND length(i."productId") > length(r."productId")
    AND ltrim(i."productId", '0') = ltrim(r."productId", '0')
) lost ORDER BY line LIMIT {MAX_PROBLEMS}
"""  # noqa: S608 - constants

NEW_ROWS = f"""
SELECT line, sku, "variantKey" FROM import_row r WHERE {_IS_NEW} ORDER BY line LIMIT {MAX_PROBLEMS}
"""  # noqa: S608 - constants

_SPELLING = """lower(regexp_replace({0}.sku, '^0+|[^[:alnum:]]', '', 'g'))"""
_SPELLINGS = """
  (SELECT x.spelling, 1 AS distance UNION ALL
   SELECT overlay(x.spelling PLACING '' FROM g FOR 1), 2 FROM generate_series(1, length(x.spelling)) g
   WHERE length(x.spelling) > 3)
"""
# The same SKU with another variant; else one that differs in case, signs or leading zeros; else in one character.
NEAREST = f"""
INSERT INTO import_nearest
WITH fresh AS MATERIALIZED (
  SELECT r.line, r."shopId", r.sku, r."variantKey" FROM import_row r WHERE {_IS_NEW} ORDER BY line LIMIT {MAX_PROBLEMS}
), wanted AS (
  SELECT f.*, s.* FROM fresh f CROSS JOIN LATERAL (SELECT {_SPELLING.format("f")} AS spelling) x
  CROSS JOIN LATERAL {_SPELLINGS} s (text, distance) WHERE x.spelling <> ''
), known AS (
  SELECT i."shopId", i.sku, i."variantKey", s.* FROM "InventoryItem" i
  CROSS JOIN LATERAL (SELECT {_SPELLING.format("i")} AS spelling) x
  CROSS JOIN LATERAL {_SPELLINGS} s (text, distance)
  WHERE x.spelling <> '' AND i."shopId" IN (SELECT "shopId" FROM fresh)
)
SELECT DISTINCT ON (w.line) w.line, k.sku, k."variantKey"
FROM wanted w JOIN known k ON k."shopId" = w."shopId" AND k.text = w.text
ORDER BY w.line, k.sku <> w.sku, greatest(k.distance, w.distance), k."variantKey" <> w."variantKey", k.sku,
         k."variantKey"
"""  # noqa: S608 - constants
NEAREST_OF_ROWS = 'SELECT line, sku, "variantKey" FROM import_nearest'

# A limit whose column is not in the file is KEPT_LIMIT in import_row and import_report.
_NEW_LIMITS = f"""
  CASE WHEN r."maxPerOrder" = {KEPT_LIMIT} THEN i."maxPerOrder" ELSE r."maxPerOrder" END AS per_order,
  CASE WHEN r."maxPerBuyer" = {KEPT_LIMIT} THEN i."maxPerBuyer" ELSE r."maxPerBuyer" END AS per_buyer,
  CASE WHEN r."maxPerOrder" = {KEPT_LIMIT} THEN {KEPT_LIMIT} ELSE i."maxPerOrder" END AS old_per_order,
  CASE WHEN r."maxPerBuyer" = {KEPT_LIMIT} THEN {KEPT_LIMIT} ELSE i."maxPerBuyer" END AS old_per_buyer
"""
_DIFFERS = f"""
  ((i.quantity + i.held, i."productId", i."lowStockThreshold", CASE WHEN r."hasName" THEN i.name END)
     IS DISTINCT FROM (r."onHand", r."productId", r."lowStockThreshold", r.name)
   OR r."maxPerOrder" IS DISTINCT FROM {KEPT_LIMIT} AND r."maxPerOrder" IS DISTINCT FROM i."maxPerOrder"
   OR r."maxPerBuyer" IS DISTINCT FROM {KEPT_LIMIT} AND r."maxPerBuyer" IS DISTINCT FROM i."maxPerBuyer")
"""
_VALUES = f"""
  (jsonb_build_object('onHand', {{0}}."onHand", 'productId', {{0}}."productId",
                      'lowStockThreshold', {{0}}."lowStockThreshold")
   || CASE WHEN r."hasName" THEN jsonb_build_object('name', {{0}}.name) ELSE '{{{{}}}}' END
   || CASE WHEN {{0}}."maxPerOrder" = {KEPT_LIMIT} THEN '{{{{}}}}'::jsonb
           ELSE jsonb_build_object('maxPerOrder', {{0}}."maxPerOrder") END
   || CASE WHEN {{0}}."maxPerBuyer" = {KEPT_LIMIT} THEN '{{{{}}}}'::jsonb
           ELSE jsonb_build_object('maxPerBuyer', {{0}}."maxPerBuyer") END)
"""
_BELOW = f"""
  SELECT line, "shopId", sku, "variantKey", "onHand", held FROM below ORDER BY line LIMIT {MAX_PROBLEMS}
"""  # noqa: S608 - constants

PREVIEW = f"""
WITH current AS MATERIALIZED (
  SELECT r.*, i.sku IS NOT NULL AS known, i.quantity + i.held AS old, i."productId" AS product,
         i."lowStockThreshold" AS threshold, coalesce(i.held, 0) AS held, i.name AS old_name, {_NEW_LIMITS}
  FROM import_row r LEFT JOIN "InventoryItem" i ON {_KEY}
), below AS (
  SELECT * FROM current WHERE "onHand" < held
), report AS (
  INSERT INTO import_report
  SELECT line, known, old, product, threshold, "onHand" - held, held, old_name, old_per_order, old_per_buyer
  FROM current
  WHERE "onHand" >= held
)
SELECT (SELECT json_agg(b) FROM ({_BELOW}) b) AS below, 0 AS missed
"""  # noqa: S608 - constants

# An item that already has the values of the file is not locked, nor written.
APPLY = f"""
WITH locked AS MATERIALIZED (
  SELECT r.*, i.held, i.quantity + i.held AS old, i."productId" AS product, i."lowStockThreshold" AS threshold,
         i.name AS old_name, {_NEW_LIMITS}
  FROM "InventoryItem" i JOIN import_row r ON {_KEY} WHERE {_DIFFERS}
  ORDER BY i."shopId", i.sku, i."variantKey" FOR NO KEY UPDATE OF i
), below AS MATERIALIZED (
  SELECT * FROM locked WHERE "onHand" < held
), fresh AS MATERIALIZED (
  SELECT r.* FROM import_row r WHERE {_IS_NEW}
), made AS (
  INSERT INTO "InventoryItem" ("shopId", sku, "variantKey", "productId", quantity, "lowStockThreshold",
                               name, "maxPerOrder", "maxPerBuyer")
  SELECT "shopId", sku, "variantKey", "productId", "onHand", "lowStockThreshold", name,
         nullif("maxPerOrder", {KEPT_LIMIT}), nullif("maxPerBuyer", {KEPT_LIMIT})
  FROM fresh
  WHERE NOT EXISTS (SELECT FROM below) ORDER BY "shopId", sku, "variantKey"
  ON CONFLICT DO NOTHING
  RETURNING 1
), moved AS (
  UPDATE "InventoryItem" i SET quantity = r."onHand" - r.held, held = r.held, "productId" = r."productId",
      "lowStockThreshold" = r."lowStockThreshold", name = CASE WHEN r."hasName" THEN r.name ELSE i.name END,
      "maxPerOrder" = r.per_order, "maxPerBuyer" = r.per_buyer,
      "updatedAt" = now()
  FROM locked r WHERE {_KEY} AND NOT EXISTS (SELECT FROM below)
), ledger AS (
  INSERT INTO "InventoryMovement" ("shopId", sku, "variantKey", kind, delta, "onHand", actor, reason)
  SELECT "shopId", sku, "variantKey", 'count', delta, "onHand", %(actor)s, 'import' FROM (
    SELECT "shopId", sku, "variantKey", "onHand" - old AS delta, "onHand" FROM locked WHERE "onHand" <> old
    UNION ALL SELECT "shopId", sku, "variantKey", "onHand", "onHand" FROM fresh WHERE "onHand" > 0
  ) changes WHERE NOT EXISTS (SELECT FROM below)
), report AS (
  INSERT INTO import_report
  SELECT line, true, old, product, threshold, "onHand" - held, held, old_name, old_per_order, old_per_buyer FROM locked
  UNION ALL SELECT line, false, NULL, NULL, NULL, "onHand", 0, NULL, NULL, NULL FROM fresh
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
    'before', w.was, 'after', n.now, 'quantity', coalesce(p.quantity, i.quantity), 'held', coalesce(p.held, i.held),
    'nearest', CASE WHEN c.line IS NOT NULL THEN json_build_object('sku', c.sku, 'variantKey', c."variantKey") END)
  FROM import_row r CROSS JOIN LATERAL (SELECT {_VALUES.format("r")} AS now) n
  LEFT JOIN import_report p USING (line) LEFT JOIN import_nearest c USING (line)
  LEFT JOIN "InventoryItem" i ON p.line IS NULL AND {_KEY}
  CROSS JOIN LATERAL (
    SELECT CASE WHEN p.line IS NULL THEN n.now WHEN p.known THEN {_VALUES.format("p")} END AS was) w
  ORDER BY r.line
) TO STDOUT WITH (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')
"""  # noqa: S608 - constants

EXPORT = """
COPY (
  SELECT "shopId", {sku} AS sku, {variant} AS "variantKey", {product} AS "productId", quantity + held AS "onHand",
         "lowStockThreshold", {name} AS name, "maxPerOrder", "maxPerBuyer"
  FROM "InventoryItem" i WHERE "shopId" = {shop} ORDER BY i.sku, i."variantKey"
) TO STDOUT WITH (FORMAT csv, HEADER)
"""
