"""Postgres counts holds anew after 1,000 changes, not after a tenth of the table, so that it sees a rush begin."""

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Set the storage parameters. They lock out neither reads nor writes.

    Active holds are a few of all. With a count from a quiet hour, Postgres takes their partial indexes for empty and
    reads all active holds where it wants one of them, for as long as the count is that old.
    """
    op.execute(
        'ALTER TABLE "InventoryHold" SET (autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000)'
    )
