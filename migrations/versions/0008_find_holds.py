"""Columns for partial commits, metadata, warnings and the actors of a hold, and indexes to find holds."""

from alembic import op

revision = "0008"
down_revision = "0007"

# Repeatable: if the version table was lost, they run on tables that already have everything.
COLUMNS = (
    'ALTER TABLE "InventoryHold" ADD COLUMN IF NOT EXISTS sold jsonb',
    'ALTER TABLE "InventoryHold" ADD COLUMN IF NOT EXISTS metadata jsonb',
    'ALTER TABLE "InventoryHold" ADD COLUMN IF NOT EXISTS "warnBeforeSeconds" integer',
    'ALTER TABLE "InventoryHold" ADD COLUMN IF NOT EXISTS "createdBy" text',
    'ALTER TABLE "InventoryHold" ADD COLUMN IF NOT EXISTS "endedBy" text',
)

_INDEXES = {
    "InventoryHold_shopId_reference_idx": '"InventoryHold" ("shopId", reference) WHERE reference IS NOT NULL',
    "InventoryHoldArchive_shopId_reference_idx": (
        "\"InventoryHoldArchive\" (\"shopId\", (hold ->> 'reference')) WHERE hold ->> 'reference' IS NOT NULL"
    ),
    "InventoryHoldArchive_shopId_buyer_idx": (
        "\"InventoryHoldArchive\" (\"shopId\", (hold ->> 'buyer')) WHERE hold ->> 'buyer' IS NOT NULL"
    ),
    "InventoryHoldArchive_paymentIntentId_idx": (
        "\"InventoryHoldArchive\" ((hold ->> 'paymentIntentId')) WHERE hold ->> 'paymentIntentId' IS NOT NULL"
    ),
    "InventoryHoldArchive_paymentSessionId_idx": (
        "\"InventoryHoldArchive\" ((hold ->> 'paymentSessionId')) WHERE hold ->> 'paymentSessionId' IS NOT NULL"
    ),
    "InventoryHoldArchive_lines_idx": '"InventoryHoldArchive" USING gin (lines jsonb_path_ops)',
}


def upgrade() -> None:
    """Add nullable columns without rewriting a table, and indexes without blocking writes."""
    for statement in COLUMNS:
        op.execute(statement)
    with op.get_context().autocommit_block():
        # CREATE INDEX CONCURRENTLY blocks nobody but waits for older transactions, longer than the usual time-out.
        op.execute("SET lock_timeout = '60s'")
        for name, definition in _INDEXES.items():
            op.execute(f'DROP INDEX CONCURRENTLY IF EXISTS "{name}"')  # an interrupted run leaves an invalid index
            op.execute(f'CREATE INDEX CONCURRENTLY "{name}" ON {definition}')
        op.execute("RESET lock_timeout")
