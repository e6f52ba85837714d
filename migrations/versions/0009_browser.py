"""How often the shopper's browser may extend a hold."""

from alembic import op

revision = "0009"
down_revision = "0008"

STATEMENTS = (
    # A constant default: Postgres adds the column without rewriting the table.
    'ALTER TABLE "InventoryHold" ADD COLUMN IF NOT EXISTS "browserExtensions" smallint NOT NULL DEFAULT 0',
)


def upgrade() -> None:
    """Add the column."""
    for statement in STATEMENTS:
        op.execute(statement)
