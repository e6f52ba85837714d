"""What a checkout costs, and the parameters of Checkout Sessions while their holds last."""

from alembic import op

revision = "0011"
down_revision = "0010"

STATEMENTS = (
    'ALTER TABLE "InventoryHold" ADD COLUMN IF NOT EXISTS "amountTotal" bigint',
    'ALTER TABLE "InventoryHold" ADD COLUMN IF NOT EXISTS currency text',
    # No reference to the hold: the row is written before the hold is.
    """
    CREATE TABLE IF NOT EXISTS "InventoryCheckoutParameters" (
      id text PRIMARY KEY,
      "shopId" text NOT NULL,
      "holdId" text NOT NULL,
      sealed bytea NOT NULL,
      "createdAt" timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
)


def upgrade() -> None:
    """Add the columns and the table."""
    for statement in STATEMENTS:
        op.execute(statement)
