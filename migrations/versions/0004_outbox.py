"""The outbox: events to deliver, written in the transaction that causes them."""

from alembic import op

revision = "0004"
down_revision = "0003"

# Repeatable: if the version table was lost, all of it exists already.
STATEMENTS = (
    """
    CREATE TABLE IF NOT EXISTS "InventoryOutbox" (
      id bigint GENERATED ALWAYS AS IDENTITY,
      "eventId" uuid NOT NULL DEFAULT gen_random_uuid(),
      type text NOT NULL,
      "shopId" text NOT NULL,
      "holdId" text,
      sku text,
      "variantKey" text,
      data jsonb NOT NULL,
      "createdAt" timestamptz NOT NULL DEFAULT clock_timestamp(),
      CONSTRAINT "InventoryOutbox_pkey" PRIMARY KEY (id)
    )
    """,
    'CREATE INDEX IF NOT EXISTS "InventoryOutbox_id_item_idx" ON "InventoryOutbox" (id) WHERE "holdId" IS NULL',
    'ALTER TABLE "InventoryItem" ADD COLUMN IF NOT EXISTS "lowStockAt" timestamptz',
    # Triggers, so that every writer is covered: holds, commits, counts, imports and manual SQL. An update that causes
    # no event only evaluates the WHEN condition.
    """
    CREATE OR REPLACE FUNCTION "InventoryItem_note_low_stock"() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF NEW.quantity <= NEW."lowStockThreshold" THEN
        INSERT INTO "InventoryOutbox" (type, "shopId", sku, "variantKey", data)
        VALUES ('stock.low', NEW."shopId", NEW.sku, NEW."variantKey",
                jsonb_build_object('quantity', NEW.quantity, 'held', NEW.held, 'threshold', NEW."lowStockThreshold"));
        UPDATE "InventoryItem" SET "lowStockAt" = clock_timestamp()
        WHERE "shopId" = NEW."shopId" AND sku = NEW.sku AND "variantKey" = NEW."variantKey";
      ELSE
        UPDATE "InventoryItem" SET "lowStockAt" = NULL
        WHERE "shopId" = NEW."shopId" AND sku = NEW.sku AND "variantKey" = NEW."variantKey";
      END IF;
      RETURN NULL;
    END $$
    """,
    """
    CREATE OR REPLACE TRIGGER "InventoryItem_low_stock" AFTER UPDATE OF quantity, "lowStockThreshold" ON "InventoryItem"
    FOR EACH ROW WHEN (
      CASE WHEN NEW.quantity <= NEW."lowStockThreshold" THEN OLD."lowStockAt" IS NULL AND NEW.quantity < OLD.quantity
           ELSE OLD."lowStockAt" IS NOT NULL END
    ) EXECUTE FUNCTION "InventoryItem_note_low_stock"()
    """,
    """
    CREATE OR REPLACE FUNCTION "InventoryHold_note_event"() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO "InventoryOutbox" (type, "shopId", "holdId", data)
      VALUES (CASE TG_OP WHEN 'INSERT' THEN 'hold.created' ELSE 'hold.' || NEW.status END, NEW."shopId", NEW.id,
              to_jsonb(NEW));
      RETURN NULL;
    END $$
    """,
    # Processes with HOLD_EVENTS_WEBHOOK_URL set `holdfast.events` on their connections.
    """
    CREATE OR REPLACE TRIGGER "InventoryHold_created" AFTER INSERT ON "InventoryHold"
    FOR EACH ROW WHEN (current_setting('holdfast.events', true) = 'on')
    EXECUTE FUNCTION "InventoryHold_note_event"()
    """,
    """
    CREATE OR REPLACE TRIGGER "InventoryHold_ended" AFTER UPDATE OF status ON "InventoryHold"
    FOR EACH ROW WHEN (NEW.status <> OLD.status AND NEW.status <> 'active'
                       AND current_setting('holdfast.events', true) = 'on')
    EXECUTE FUNCTION "InventoryHold_note_event"()
    """,
)


def upgrade() -> None:
    """Create the outbox and its triggers. The previous release is not affected."""
    for statement in STATEMENTS:
        op.execute(statement)
