"""Indexes to find holds by payment, for Stripe events without a hold id."""

from alembic import op

revision = "0002"
down_revision = "0001"

INDEXES = (
    (
        'CREATE INDEX CONCURRENTLY IF NOT EXISTS "InventoryHold_paymentSessionId_idx" ON "InventoryHold"'
        ' ("paymentSessionId") WHERE "paymentSessionId" IS NOT NULL'
    ),
    (
        'CREATE INDEX CONCURRENTLY IF NOT EXISTS "InventoryHold_paymentIntentId_idx" ON "InventoryHold"'
        ' ("paymentIntentId") WHERE "paymentIntentId" IS NOT NULL'
    ),
)


def upgrade() -> None:
    """Create the two indexes without blocking writes."""
    with op.get_context().autocommit_block():
        for statement in INDEXES:
            op.execute(statement)
