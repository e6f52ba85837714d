"""The product's name, for people."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add a column without rewriting the table. The previous release does not read it."""
    op.execute('ALTER TABLE "InventoryItem" ADD COLUMN IF NOT EXISTS name text')
