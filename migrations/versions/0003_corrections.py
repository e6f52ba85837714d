"""Idempotent stock corrections, retired items, and an index to find returns by hold."""

from alembic import op

revision = "0003"
down_revision = "0002"

# Repeatable: if the version table was lost, they run on tables that already have everything.
STATEMENTS = (
    'ALTER TABLE "InventoryItem" ADD COLUMN IF NOT EXISTS "retiredAt" timestamptz',
    'ALTER TABLE "InventoryMovement" ADD COLUMN IF NOT EXISTS "idempotencyKey" text',
    """
    CREATE TABLE IF NOT EXISTS "InventoryCorrection" (
      "shopId" text NOT NULL,
      "idempotencyKey" text NOT NULL,
      "requestHash" text NOT NULL,
      answer jsonb NOT NULL,
      "createdAt" timestamptz NOT NULL DEFAULT now(),
      CONSTRAINT "InventoryCorrection_pkey" PRIMARY KEY ("shopId", "idempotencyKey")
    )
    """,
)

_INDEX = '"InventoryMovement_shopId_holdId_restock_idx"'
_CONCURRENTLY = (
    # CREATE INDEX CONCURRENTLY blocks nobody but waits for older transactions, longer than the usual lock time-out.
    "SET lock_timeout = '60s'",
    # An interrupted run leaves an invalid index.
    f"DROP INDEX CONCURRENTLY IF EXISTS {_INDEX}",
    f'CREATE INDEX CONCURRENTLY {_INDEX} ON "InventoryMovement" ("shopId", "holdId") WHERE kind = \'restock\'',
    "RESET lock_timeout",
)


def upgrade() -> None:
    """Add columns without rewriting a table, a new table, and an index without blocking writes."""
    for statement in STATEMENTS:
        op.execute(statement)
    with op.get_context().autocommit_block():
        for statement in _CONCURRENTLY:
            op.execute(statement)
