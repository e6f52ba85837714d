"""Every way to look for holds reads an index, among many holds."""

import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import create_engine, fetch
from core.settings import Settings
from dev.harness.stock import SHOP
from domain.holds import HoldStatus
from inventory.hold_search import HoldFilter, find_holds, search

_MANY = 40_000
_HOLDS = """
INSERT INTO "InventoryHold" (id, "shopId", status, "expiresAt", "createdAt", reference, buyer,
                             "paymentIntentId", "paymentSessionId")
SELECT 'h' || n, %(shop)s,
       CASE WHEN n > %(many)s - 100 THEN 'active' WHEN n %% 2 = 0 THEN 'committed' ELSE 'expired' END,
       now() - n * interval '1 minute' + interval '20 minutes', now() - n * interval '1 minute', 'order-' || n,
       'buyer-' || n, CASE WHEN n %% 2 = 0 THEN 'pi_' || n END, CASE WHEN n %% 2 = 0 THEN 'cs_' || n END
FROM generate_series(1, %(many)s) n
"""
_LINES = """
INSERT INTO "InventoryHoldItem" ("holdId", "shopId", sku, "variantKey", quantity)
SELECT 'h' || n, %(shop)s, 'sku-' || n %% 2000, 'v' || n %% 3, 1 FROM generate_series(1, %(many)s) n
"""
_ARCHIVE = """
INSERT INTO "InventoryHoldArchive" ("shopId", id, "createdAt", status, hold, lines)
SELECT h."shopId", h.id, h."createdAt", h.status, to_jsonb(h), jsonb_build_array(to_jsonb(l))
FROM "InventoryHold" h JOIN "InventoryHoldItem" l ON l."holdId" = h.id AND l."shopId" = h."shopId"
ORDER BY h."createdAt"
"""
_SOON = datetime.now(UTC) - timedelta(minutes=_MANY - 50)
_FILTERS: list[tuple[dict[str, Any], str, str]] = [
    ({}, "InventoryHold_createdAt_idx", "InventoryHoldArchive_createdAt_idx"),
    ({"reference": "order-600"}, "InventoryHold_shopId_reference_idx", "InventoryHoldArchive_shopId_reference_idx"),
    ({"buyer": "buyer-600"}, "InventoryHold_shopId_buyer_idx", "InventoryHoldArchive_shopId_buyer_idx"),
    (
        {"payment_intent_id": "pi_600"},
        "InventoryHold_paymentIntentId_idx",
        "InventoryHoldArchive_paymentIntentId_idx",
    ),
    (
        {"checkout_session_id": "cs_600"},
        "InventoryHold_paymentSessionId_idx",
        "InventoryHoldArchive_paymentSessionId_idx",
    ),
    ({"sku": "sku-600"}, "InventoryHoldItem_shopId_sku_variantKey_idx", "InventoryHoldArchive_lines_idx"),
    (
        {"sku": "sku-600", "variant_key": "v0"},
        "InventoryHoldItem_shopId_sku_variantKey_idx",
        "InventoryHoldArchive_lines_idx",
    ),
    ({"statuses": (HoldStatus.ACTIVE,)}, "active_idx|shopId_status_idx", "InventoryHoldArchive_createdAt_idx"),
    (
        {"statuses": (HoldStatus.COMMITTED, HoldStatus.EXPIRED)},
        "InventoryHold_createdAt_idx",
        "InventoryHoldArchive_createdAt_idx",
    ),
    ({"created_from": _SOON}, "InventoryHold_createdAt_idx", "InventoryHoldArchive_createdAt_idx"),
    ({"created_to": _SOON}, "InventoryHold_createdAt_idx", "InventoryHoldArchive_createdAt_idx"),
    ({"expires_to": _SOON}, "InventoryHold_createdAt_idx", "InventoryHoldArchive_createdAt_idx"),
]


@pytest.fixture
async def many(tables: str) -> AsyncIterator[list[AsyncEngine]]:
    """Many holds of one shop, and as many in the archive: the direct way there, and that behind a pooler."""
    async with await psycopg.AsyncConnection.connect(tables, autocommit=True) as connection:  # without time-outs
        for statement in (_HOLDS, _LINES, _ARCHIVE):
            await connection.execute(statement, {"shop": SHOP, "many": _MANY})
        await connection.execute('ANALYZE "InventoryHold", "InventoryHoldItem", "InventoryHoldArchive"')
    settings = {"DATABASE_URL": tables}
    engines = [create_engine(Settings.read(settings | {"INVENTORY_DATABASE_POOLER": pooler})) for pooler in "01"]
    yield engines
    for engine in engines:
        await engine.dispose()


async def test_every_filter_reads_an_index(many: list[AsyncEngine]) -> None:
    for filters, index, of_archive in _FILTERS:
        for engine, archived in itertools.product(many, (False, True)):
            wanted = HoldFilter(**filters, archived=archived)
            statement, parameters = search(SHOP, wanted, limit=50, after=None)
            lines = [row["QUERY PLAN"] for row in await fetch(engine, f"EXPLAIN {statement}", parameters)]
            plan = "\n".join(lines)
            assert any(name in plan for name in (of_archive if archived else index).split("|")), plan
            whole = [line for line in lines if "Seq Scan on" in line and "InventoryMovement" not in line]
            assert whole == [], plan  # the table of movements is empty here
            page = await find_holds(engine, SHOP, wanted, limit=50)
            assert len(page.holds) >= 1, filters
            assert all((hold.archived_at is not None) is archived for hold in page.holds)
