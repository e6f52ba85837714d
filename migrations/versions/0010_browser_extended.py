"""How often the shopper's browser has extended a hold: a run that resumes a lost one goes on counting."""

from alembic import op

revision = "0010"
down_revision = "0009"

STATEMENTS = (
    # A constant default: Postgres adds the column without rewriting the table.
    'ALTER TABLE "InventoryHold" ADD COLUMN IF NOT EXISTS "browserExtended" smallint NOT NULL DEFAULT 0',
)


def upgrade() -> None:
    """Add the column."""
    for statement in STATEMENTS:
        op.execute(statement)
