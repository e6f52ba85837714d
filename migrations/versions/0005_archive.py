"""The archive of ended holds."""

from alembic import op

revision = "0005"
down_revision = "0004"

STATEMENTS = (
    # Without foreign keys and checks: the rows were checked in their original tables, and only reports read them.
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
