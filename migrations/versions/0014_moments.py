"""When something last happened that has no row of its own: it outlives the processes that saw it."""

from alembic import op

revision = "0014"
down_revision = "0012"

STATEMENTS = (
    """
    CREATE TABLE IF NOT EXISTS "InventoryMoment" (
      name text NOT NULL,
      at timestamptz NOT NULL,
      CONSTRAINT "InventoryMoment_pkey" PRIMARY KEY (name)
    )
    """,
    # An audit counts as late from now on, not since 1970.
    """
    INSERT INTO "InventoryMoment" (name, at) VALUES ('audit_stock', now()), ('audit_runs', now())
    ON CONFLICT DO NOTHING
    """,
)


def upgrade() -> None:
    """Add the table. The previous release is not affected."""
    for statement in STATEMENTS:
        op.execute(statement)
