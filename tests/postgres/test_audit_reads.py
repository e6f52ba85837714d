"""The audit reads active holds and last movements by their indexes: what has ended costs it nothing."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import create_engine, fetch
from core.settings import Settings
from dev.postgres import EmbeddedPostgres
from inventory import audit
from tests.servers import database_on

_MANY = """
INSERT INTO "InventoryItem" ("shopId", sku, quantity, held)
SELECT 'shop-' || mod(n, 3), 'SKU-' || n, 100, 0 FROM generate_series(1, 20000) n
"""
_MOVEMENTS = """
INSERT INTO "InventoryMovement" ("shopId", sku, kind, delta, "onHand", actor)
SELECT 'shop-' || mod(n, 3), 'SKU-' || n, 'count', 0, 100, 'test'
FROM generate_series(1, 2000) n, generate_series(1, 20)
"""
_HOLDS = """
INSERT INTO "InventoryHold" (id, "shopId", status, "expiresAt")
SELECT 'h' || n, 'shop-' || mod(n, 3), CASE WHEN n <= 50 THEN 'active' ELSE 'committed' END, now()
FROM generate_series(1, 30000) n
"""
_LINES = """
INSERT INTO "InventoryHoldItem" ("holdId", "shopId", sku, quantity)
SELECT 'h' || n, 'shop-' || mod(n, 3), 'SKU-' || (1 + mod(n, 3)), 1 FROM generate_series(1, 30000) n
"""


@pytest.fixture(scope="module", params=["0", "1"], ids=["direct", "behind a pooler"])
async def grown(
    request: pytest.FixtureRequest, postgres: EmbeddedPostgres, migrated_template: str
) -> AsyncIterator[AsyncEngine]:
    """A database with 30,000 holds, of which 50 are active, and 40,000 movements, for tests that only read."""
    with database_on(postgres, migrated_template) as url:
        with psycopg.connect(url) as connection:  # not the product's engine, whose statements have a time-out
            for statement in (_MANY, _MOVEMENTS, _HOLDS, _LINES, "ANALYZE"):
                connection.execute(statement)
        engine = create_engine(Settings.read({"DATABASE_URL": url, "INVENTORY_DATABASE_POOLER": request.param}))
        yield engine
        await engine.dispose()


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


async def rows_read(engine: AsyncEngine, statement: str, parameters: Mapping[str, object]) -> dict[str, int]:
    """Run the statement and return how many rows it read of each table."""
    explained = await fetch(engine, f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
    found = explained[0]["QUERY PLAN"]
    plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    read: dict[str, int] = {}
    for node in nodes(plan):
        if table := node.get("Relation Name"):
            rows = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            read[table] = read.get(table, 0) + round(rows)
    return read


@pytest.mark.parametrize("shop", [None, "shop-1"])
async def test_of_holds_only_the_active_ones_are_read(grown: AsyncEngine, shop: str | None) -> None:
    parameters = {"at": audit._FIRST, "after_shop": "", "after_hold": "", "shop": shop}

    read = await rows_read(grown, audit.statement_of_active(one_shop=shop is not None), parameters)

    assert read["InventoryHold"] <= 50
    assert read["InventoryHoldItem"] <= 50


@pytest.mark.parametrize("shop", [None, "shop-1"])
async def test_of_movements_only_the_last_of_each_item_is_read(grown: AsyncEngine, shop: str | None) -> None:
    parameters = {
        "after_shop": "shop-1",
        "after_sku": "SKU-5",
        "after_variant": "",
        "shop": shop,
    }

    read = await rows_read(grown, audit.statement_of_balances(one_shop=shop is not None), parameters)

    assert read["InventoryItem"] <= audit.BATCH + 1
    assert read["InventoryMovement"] <= audit.BATCH + 1


async def test_an_item_of_ten_thousand_ended_holds_is_judged_by_its_active_ones(grown: AsyncEngine) -> None:
    suspects = {"shops": ["shop-1", "shop-2"], "skus": ["SKU-1", "SKU-2"], "variants": ["", ""]}

    read = await rows_read(grown, audit.FIND_DRIFT, suspects)

    assert read["InventoryHold"] <= 50
    assert read["InventoryHoldItem"] <= 50
    assert read["InventoryMovement"] <= 2


async def test_pages_of_any_size_see_every_row_once(grown: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "BATCH", 7)

    holds = [hold.hold_id async for page in audit.active_holds(grown) for hold in page]
    items = [count.key async for page in audit.item_balances(grown, "shop-2") for count in page]

    assert sorted(holds) == sorted(f"h{n}" for n in range(1, 51))
    assert len(items) == len(set(items)) == 6667
