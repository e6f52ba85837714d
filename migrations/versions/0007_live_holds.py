"""Live holds: their amendments, their buyers, and the limits of items."""

from alembic import op

revision = "0007"
down_revision = "0006"

# Repeatable: if the version table was lost, all of it exists already. No column needs the table to be rewritten.
STATEMENTS = (
    'ALTER TABLE "InventoryHold" ADD COLUMN IF NOT EXISTS buyer text',
    # Counts the amendments: a statement that waited for the hold's lock sees by it that it has read older lines.
    'ALTER TABLE "InventoryHold" ADD COLUMN IF NOT EXISTS revision integer NOT NULL DEFAULT 0',
    'ALTER TABLE "InventoryItem" ADD COLUMN IF NOT EXISTS "maxPerOrder" integer',
    'ALTER TABLE "InventoryItem" ADD COLUMN IF NOT EXISTS "maxPerBuyer" integer',
    """
    CREATE TABLE IF NOT EXISTS "InventoryHoldAmendment" (
      "shopId" text NOT NULL,
      "holdId" text NOT NULL,
      "requestId" text NOT NULL,
      "requestHash" text NOT NULL,
      before jsonb NOT NULL,
      after jsonb NOT NULL,
      "closedSessionId" text,
      actor text NOT NULL,
      "createdAt" timestamptz NOT NULL DEFAULT clock_timestamp(),
      CONSTRAINT "InventoryHoldAmendment_pkey" PRIMARY KEY ("shopId", "holdId", "requestId"),
      CONSTRAINT "InventoryHoldAmendment_hold_fkey" FOREIGN KEY ("shopId", "holdId")
        REFERENCES "InventoryHold" ("shopId", id) ON DELETE CASCADE
    )
    """,
    # For the timeline of an item: what an amendment changed of it.
    """
    CREATE TABLE IF NOT EXISTS "InventoryHoldAmendmentItem" (
      id bigint GENERATED ALWAYS AS IDENTITY,
      "shopId" text NOT NULL,
      "holdId" text NOT NULL,
      sku text NOT NULL,
      "variantKey" text NOT NULL DEFAULT '',
      before integer NOT NULL,
      after integer NOT NULL,
      actor text NOT NULL,
      "createdAt" timestamptz NOT NULL DEFAULT clock_timestamp(),
      CONSTRAINT "InventoryHoldAmendmentItem_pkey" PRIMARY KEY (id),
      CONSTRAINT "InventoryHoldAmendmentItem_hold_fkey" FOREIGN KEY ("shopId", "holdId")
        REFERENCES "InventoryHold" ("shopId", id) ON DELETE CASCADE
    )
    """,
    (
        'CREATE INDEX IF NOT EXISTS "InventoryHoldAmendmentItem_shopId_sku_variantKey_id_idx"'
        ' ON "InventoryHoldAmendmentItem" ("shopId", sku, "variantKey", id)'
    ),
    (
        'CREATE INDEX IF NOT EXISTS "InventoryHoldAmendmentItem_shopId_holdId_idx"'
        ' ON "InventoryHoldAmendmentItem" ("shopId", "holdId")'
    ),
    """
    CREATE OR REPLACE FUNCTION "InventoryHoldAmendment_note_event"() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO "InventoryOutbox" (type, "shopId", "holdId", data)
      SELECT 'hold.amended', NEW."shopId", NEW."holdId",
             to_jsonb(h) || jsonb_build_object('before', NEW.before, 'after', NEW.after)
      FROM "InventoryHold" h WHERE h."shopId" = NEW."shopId" AND h.id = NEW."holdId";
      RETURN NULL;
    END $$
    """,
    """
    CREATE OR REPLACE TRIGGER "InventoryHoldAmendment_made" AFTER INSERT ON "InventoryHoldAmendment"
    FOR EACH ROW WHEN (NEW.before <> NEW.after AND current_setting('holdfast.events', true) = 'on')
    EXECUTE FUNCTION "InventoryHoldAmendment_note_event"()
    """,
)

_INDEX = '"InventoryHold_shopId_buyer_idx"'
_CONCURRENTLY = (
    "SET lock_timeout = '60s'",
    f"DROP INDEX CONCURRENTLY IF EXISTS {_INDEX}",
    f'CREATE INDEX CONCURRENTLY {_INDEX} ON "InventoryHold" ("shopId", buyer) WHERE buyer IS NOT NULL',
    "RESET lock_timeout",
)


def upgrade() -> None:
    """Add columns, tables and an index without blocking writes. The previous release is not affected."""
    for statement in STATEMENTS:
        op.execute(statement)
    with op.get_context().autocommit_block():
        for statement in _CONCURRENTLY:
            op.execute(statement)
