"""Tables as an earlier implementation may have left them."""

EARLIER = """
CREATE TABLE "InventoryItem" (
  "shopId" TEXT NOT NULL, sku TEXT NOT NULL, "productId" TEXT, quantity INTEGER NOT NULL DEFAULT 0,
  held INTEGER NOT NULL DEFAULT 0, "variantKey" TEXT NOT NULL DEFAULT '', "variantAttributes" JSONB,
  "createdAt" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, "updatedAt" TIMESTAMPTZ(3) NOT NULL,
  "warehouse" TEXT, CONSTRAINT "InventoryItem_pkey" PRIMARY KEY ("shopId", sku, "variantKey"));
CREATE TABLE "InventoryHold" (
  id TEXT NOT NULL, "shopId" TEXT NOT NULL, status TEXT NOT NULL, "expiresAt" TIMESTAMPTZ(3) NOT NULL,
  "committedAt" TIMESTAMPTZ(3), "releasedAt" TIMESTAMPTZ(3), "expiredAt" TIMESTAMPTZ(3),
  "createdAt" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, "updatedAt" TIMESTAMPTZ(3) NOT NULL,
  CONSTRAINT "InventoryHold_key" PRIMARY KEY ("shopId", id));
CREATE INDEX "hold_by_status" ON "InventoryHold" ("shopId", status);
CREATE TABLE "InventoryHoldItem" (
  id BIGSERIAL NOT NULL, "holdId" TEXT NOT NULL, "shopId" TEXT NOT NULL, sku TEXT NOT NULL, "productId" VARCHAR,
  "variantKey" TEXT NOT NULL, "variantAttributes" JSONB, quantity INTEGER NOT NULL,
  CONSTRAINT "InventoryHoldItem_pkey" PRIMARY KEY (id),
  CONSTRAINT "InventoryHoldItem_holdId_fkey" FOREIGN KEY ("holdId", "shopId") REFERENCES "InventoryHold" (id, "shopId")
    ON DELETE CASCADE ON UPDATE CASCADE);
INSERT INTO "InventoryItem" ("shopId", sku, quantity, held, "updatedAt") VALUES
  ('shop-1', 'mug', 7, 3, now()), ('shop-1', 'cap', 5, 0, now()), ('shop-1', 'gone', 0, 0, now());
INSERT INTO "InventoryHold" (id, "shopId", status, "expiresAt", "releasedAt", "updatedAt") VALUES
  ('open', 'shop-1', 'active', now(), NULL, now()), ('over', 'shop-1', 'released', now(), now(), now());
INSERT INTO "InventoryHoldItem" ("holdId", "shopId", sku, "variantKey", quantity) VALUES
  ('open', 'shop-1', 'mug', '', 3), ('over', 'shop-1', 'cap', '', 2);
"""

# What Prisma makes of a schema that says nothing of types: times without a zone, keys of one column, its own ids.
PRISMA = """
CREATE TABLE "InventoryHold" (
  id TEXT NOT NULL, "shopId" TEXT NOT NULL, status TEXT NOT NULL, "expiresAt" TIMESTAMP(3) NOT NULL,
  "committedAt" TIMESTAMP(3), "releasedAt" TIMESTAMP(3), "expiredAt" TIMESTAMP(3),
  "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, "updatedAt" TIMESTAMP(3) NOT NULL,
  CONSTRAINT "InventoryHold_pkey" PRIMARY KEY (id));
CREATE TABLE "InventoryHoldItem" (
  id TEXT NOT NULL, "holdId" TEXT NOT NULL, "shopId" TEXT NOT NULL, sku TEXT NOT NULL, "productId" TEXT NOT NULL,
  "variantKey" TEXT NOT NULL, "variantAttributes" JSONB NOT NULL, quantity INTEGER NOT NULL,
  CONSTRAINT "InventoryHoldItem_pkey" PRIMARY KEY (id));
CREATE INDEX "InventoryHold_shopId_status_idx" ON "InventoryHold" ("shopId", status);
CREATE INDEX "InventoryHold_expiresAt_idx" ON "InventoryHold" ("expiresAt");
CREATE INDEX "InventoryHoldItem_holdId_idx" ON "InventoryHoldItem" ("holdId");
ALTER TABLE "InventoryHoldItem" ADD CONSTRAINT "InventoryHoldItem_holdId_fkey" FOREIGN KEY ("holdId")
  REFERENCES "InventoryHold" (id) ON DELETE CASCADE ON UPDATE CASCADE;
INSERT INTO "InventoryHold" (id, "shopId", status, "expiresAt", "committedAt", "createdAt", "updatedAt") VALUES
  ('paid', 'shop-1', 'committed', '2026-01-01 12:20', '2026-01-01 12:05', '2026-01-01 12:00', '2026-01-01 12:05');
INSERT INTO "InventoryHoldItem" VALUES ('c1', 'paid', 'shop-1', 'mug', 'p', '', '{}', 1);
"""
