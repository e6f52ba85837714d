"""The schema that `holdfast migrate` makes: names, rules, and the deployment checklist's own statements."""

import psycopg
import pytest

COLUMNS = {
    "InventoryItem": "shopId sku variantKey productId variantAttributes quantity held lowStockThreshold createdAt"
    " updatedAt retiredAt lowStockAt name maxPerOrder maxPerBuyer",
    "InventoryHold": "id shopId status expiresAt createdAt updatedAt committedAt releasedAt expiredAt reason reference"
    " paymentSessionId paymentIntentId requestHash buyer revision sold metadata warnBeforeSeconds createdBy"
    " endedBy browserExtensions browserExtended amountTotal currency paidElsewhere",
    "InventoryHoldItem": "id holdId shopId sku productId variantKey variantAttributes quantity",
    "InventoryMovement": "id shopId sku variantKey kind delta onHand holdId actor reason createdAt idempotencyKey",
    "InventoryCorrection": "shopId idempotencyKey requestHash answer createdAt",
    "InventoryOutbox": "id eventId type shopId holdId sku variantKey data createdAt",
    "InventoryHoldAmendment": "shopId holdId requestId requestHash before after closedSessionId actor createdAt",
    "InventoryHoldAmendmentItem": "id shopId holdId sku variantKey before after actor createdAt",
    "InventoryMoment": "name at",
    "InventoryPaymentEvent": "shopId holdId eventId type paymentIntentId objectId amount currency status reason"
    " occurredAt createdAt",
    "InventoryHoldArchive": "shopId id createdAt status hold lines archivedAt",
    "InventoryCheckoutParameters": "id shopId holdId sealed createdAt",
}
INDEXES = {
    'InventoryHold: btree ("shopId", id)',
    'InventoryHold: btree ("shopId", status)',
    "InventoryHold: btree (\"expiresAt\") WHERE (status = 'active'::text)",
    'InventoryHold: btree ("createdAt")',
    "InventoryHold: btree (\"shopId\", reference) WHERE (status = 'active'::text)",
    'InventoryHold: btree ("paymentIntentId") WHERE ("paymentIntentId" IS NOT NULL)',
    'InventoryHold: btree ("paymentSessionId") WHERE ("paymentSessionId" IS NOT NULL)',
    'InventoryHold: btree ("shopId", buyer) WHERE (buyer IS NOT NULL)',
    'InventoryHold: btree ("shopId", reference) WHERE (reference IS NOT NULL)',
    'InventoryHoldAmendment: btree ("shopId", "holdId", "requestId")',
    "InventoryHoldAmendmentItem: btree (id)",
    'InventoryHoldAmendmentItem: btree ("shopId", sku, "variantKey", id)',
    'InventoryHoldAmendmentItem: btree ("shopId", "holdId")',
    "InventoryHoldItem: btree (id)",
    'InventoryHoldItem: btree ("holdId")',
    'InventoryHoldItem: btree ("shopId", sku, "variantKey")',
    'InventoryItem: btree ("shopId", sku, "variantKey")',
    "InventoryMovement: btree (id)",
    'InventoryMoment: btree (name)',
    'InventoryPaymentEvent: btree ("shopId", "holdId", "eventId")',
    'InventoryPaymentEvent: btree ("paymentIntentId") WHERE ("paymentIntentId" IS NOT NULL)',
    'InventoryMovement: btree ("shopId", sku, "variantKey", id)',
    'InventoryMovement: btree ("shopId", "holdId") WHERE (kind = \'restock\'::text)',
    'InventoryCorrection: btree ("shopId", "idempotencyKey")',
    "InventoryCheckoutParameters: btree (id)",
    "InventoryOutbox: btree (id)",
    'InventoryHoldArchive: btree ("shopId", id, "createdAt")',
    'InventoryHoldArchive: btree ("createdAt") INCLUDE ("shopId", status)',
    (
        "InventoryHoldArchive: btree (\"shopId\", ((hold ->> 'reference'::text))) WHERE"
        " ((hold ->> 'reference'::text) IS NOT NULL)"
    ),
    "InventoryHoldArchive: btree (\"shopId\", ((hold ->> 'buyer'::text))) WHERE ((hold ->> 'buyer'::text) IS NOT NULL)",
    (
        "InventoryHoldArchive: btree (((hold ->> 'paymentIntentId'::text))) WHERE"
        " ((hold ->> 'paymentIntentId'::text) IS NOT NULL)"
    ),
    (
        "InventoryHoldArchive: btree (((hold ->> 'paymentSessionId'::text))) WHERE"
        " ((hold ->> 'paymentSessionId'::text) IS NOT NULL)"
    ),
    "InventoryHoldArchive: gin (lines jsonb_path_ops)",
    'InventoryOutbox: btree (id) WHERE ("holdId" IS NULL)',
}
HOLD = """
INSERT INTO "InventoryHold" (id, "shopId", status, "expiresAt", reference)
VALUES ('h', 's', 'active', now(), 'order-1')
"""
LINE = """INSERT INTO "InventoryHoldItem" ("holdId", "shopId", sku, quantity) VALUES ('h', 's', 'a', 1)"""
MOVEMENT = """
INSERT INTO "InventoryMovement" ("shopId", sku, kind, delta, "onHand", actor) VALUES ('s', 'a', 'stolen', 1, 1, 'x')
"""
CHECKLIST = (
    "SELECT 1",
    'SELECT * FROM "InventoryHold" ORDER BY "createdAt" DESC LIMIT 5',
    """
  -- Check hold counts
  SELECT status, COUNT(*) FROM "InventoryHold"
  WHERE "createdAt" > NOW() - INTERVAL '24 hours'
  GROUP BY status;

  -- Check hold commit rate
  SELECT
    ROUND(100.0 * SUM(CASE WHEN status = 'committed' THEN 1 ELSE 0 END) / COUNT(*), 2) AS commit_rate_pct
  FROM "InventoryHold"
  WHERE "createdAt" > NOW() - INTERVAL '24 hours';

  -- Check average hold duration
  SELECT
    AVG(EXTRACT(EPOCH FROM ("committedAt" - "createdAt"))) AS avg_duration_sec
  FROM "InventoryHold"
  WHERE status = 'committed' AND "createdAt" > NOW() - INTERVAL '24 hours';
""",
    """
  UPDATE "InventoryHold"
  SET status = 'released', "releasedAt" = NOW()
  WHERE status = 'active';
""",
)


def test_tables_columns_and_indexes_are_those_of_the_design(tables: str) -> None:
    with psycopg.connect(tables) as connection:
        for table, columns in COLUMNS.items():
            with connection.execute(f'SELECT * FROM "{table}"') as cursor:
                assert [column.name for column in cursor.description or ()] == columns.split()
        rows = connection.execute(
            "SELECT tablename, split_part(indexdef, ' USING ', 2) FROM pg_indexes"
            " WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
        ).fetchall()
        times = connection.execute(
            "SELECT DISTINCT data_type FROM information_schema.columns"
            " WHERE column_name LIKE '%At' AND table_schema = 'public'"
        ).fetchall()
    assert {f"{table}: {index}" for table, index in rows} == INDEXES
    assert len(rows) == len(INDEXES)
    assert times == [("timestamp with time zone",)]


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        (
            "INSERT INTO \"InventoryItem\" (\"shopId\", sku, quantity) VALUES ('s', 'a', -1)",
            "InventoryItem_quantity_check",
        ),
        ("INSERT INTO \"InventoryItem\" (\"shopId\", sku, held) VALUES ('s', 'a', -1)", "InventoryItem_held_check"),
        ("UPDATE \"InventoryHold\" SET status = 'lost'", "InventoryHold_status_check"),
        ('UPDATE "InventoryHoldItem" SET quantity = 0', "InventoryHoldItem_quantity_check"),
        ('UPDATE "InventoryHoldItem" SET "shopId" = \'other\'', "InventoryHoldItem_hold_fkey"),
        (HOLD.replace("'h'", "'h2'"), "InventoryHold_shopId_reference_active_key"),
        (MOVEMENT, "InventoryMovement_kind_check"),
    ],
)
def test_the_database_itself_refuses(tables: str, statement: str, rule: str) -> None:
    with psycopg.connect(tables, autocommit=True) as connection:
        connection.execute(HOLD)
        connection.execute(LINE)
        with pytest.raises(psycopg.IntegrityError) as refused:
            connection.execute(statement)
    assert refused.value.diag.constraint_name == rule


def test_lines_go_with_their_hold(tables: str) -> None:
    with psycopg.connect(tables) as connection:
        connection.execute(HOLD)
        connection.execute(LINE)
        connection.execute('DELETE FROM "InventoryHold"')
        assert connection.execute('SELECT count(*) FROM "InventoryHoldItem"').fetchone() == (0,)


@pytest.mark.parametrize("statements", CHECKLIST)
def test_the_checklists_statements_run_as_written(database: str, statements: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(
            'INSERT INTO "InventoryHold" (id, "shopId", status, "expiresAt", "committedAt") VALUES'
            " ('a', 's', 'active', now(), NULL), ('c', 's', 'committed', now(), now())"
        )
        connection.execute(statements)
