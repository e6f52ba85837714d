"""Corrections of stock that are made once, items that are retired, returns found by their hold."""

from alembic import op

revision = "0003"
down_revision = "0002"

# Each may be repeated: where the version table was lost, this runs on tables that have it all.
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
    # It locks nobody out and only waits for transactions that were there before it: that may take longer than a lock.
    "SET lock_timeout = '60s'",
    # A run that was broken off leaves an index that is not valid.
    f"DROP INDEX CONCURRENTLY IF EXISTS {_INDEX}",
    f'CREATE INDEX CONCURRENTLY {_INDEX} ON "InventoryMovement" ("shopId", "holdId") WHERE kind = \'restock\'',
    "RESET lock_timeout",
)


def upgrade() -> None:
    """Add two columns without a default, which rewrites no table, a table, and an index beside running writes."""
    for statement in STATEMENTS:
        op.execute(statement)
    with op.get_context().autocommit_block():
        for statement in _CONCURRENTLY:
            op.execute(statement)
