"""What is known of payments beside their hold: holds that were paid elsewhere, and what Stripe reported."""

from alembic import op

revision = "0012"
down_revision = "0011"

STATEMENTS = (
    # A constant default: Postgres adds the column without rewriting the table.
    'ALTER TABLE "InventoryHold" ADD COLUMN IF NOT EXISTS "paidElsewhere" boolean NOT NULL DEFAULT false',
    # Without a foreign key: a dispute comes when its hold may be archived.
    """
    CREATE TABLE IF NOT EXISTS "InventoryPaymentEvent" (
      "shopId" text NOT NULL,
      "holdId" text NOT NULL,
      "eventId" text NOT NULL,
      type text NOT NULL,
      "paymentIntentId" text,
      "objectId" text,
      amount bigint,
      currency text,
      status text,
      reason text,
      "occurredAt" timestamptz NOT NULL,
      "createdAt" timestamptz NOT NULL DEFAULT clock_timestamp(),
      CONSTRAINT "InventoryPaymentEvent_pkey" PRIMARY KEY ("shopId", "holdId", "eventId")
    )
    """,
    (
        'CREATE INDEX IF NOT EXISTS "InventoryPaymentEvent_paymentIntentId_idx" ON "InventoryPaymentEvent"'
        ' ("paymentIntentId") WHERE "paymentIntentId" IS NOT NULL'
    ),
)


def upgrade() -> None:
    """Add the column and the table. The previous release is not affected."""
    for statement in STATEMENTS:
        op.execute(statement)
