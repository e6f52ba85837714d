"""The archive of ended holds."""

from alembic import op

revision = "0005"
down_revision = "0004"

STATEMENTS = (
    # Without foreign keys and checks: what is in it was checked once, and nothing reads it but people and reports.
    """
    CREATE TABLE IF NOT EXISTS "InventoryHoldArchive" (
      "shopId" text NOT NULL,
      id text NOT NULL,
      "createdAt" timestamptz NOT NULL,
      status text NOT NULL,
      hold jsonb NOT NULL,
      lines jsonb NOT NULL,
      "archivedAt" timestamptz NOT NULL DEFAULT clock_timestamp(),
      CONSTRAINT "InventoryHoldArchive_pkey" PRIMARY KEY ("shopId", id, "createdAt")
    )
    """,
    (
        'CREATE INDEX IF NOT EXISTS "InventoryHoldArchive_createdAt_idx" ON "InventoryHoldArchive"'
        ' ("createdAt") INCLUDE ("shopId", status)'
    ),
)


def upgrade() -> None:
    """Create the table."""
    for statement in STATEMENTS:
        op.execute(statement)
