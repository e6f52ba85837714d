"""Setting items by count: what is on hand changes, what holds have never does."""

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import DatabaseBusyError, create_engine, fetch, fetch_on
from core.settings import Settings
from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import SHOP, request, stock_of
from domain.holds import Line
from inventory.counts import ItemCount, count_items
from inventory.errors import BelowHeld, CountBelowHeldError
from inventory.items import list_items, read_short
from inventory.reserve import reserve


async def test_a_count_makes_new_items_and_writes_a_movement_for_each_change(engine: AsyncEngine) -> None:
    made = await count_items(engine, SHOP, [ItemCount("mug", "", 5), ItemCount("cap", "red", 0)], actor="ann")
    assert [(item.sku, item.variant_key, item.quantity, item.on_hand) for item in made] == [
        ("cap", "red", 0, 0),
        ("mug", "", 5, 5),
    ]
    await count_items(engine, SHOP, [ItemCount("mug", "", 5)], actor="ann")
    await count_items(engine, SHOP, [ItemCount("mug", "", 3)], actor="bob")
    rows = await fetch(engine, 'SELECT sku, kind, delta, "onHand", actor FROM "InventoryMovement" ORDER BY id', {})
    assert [list(row.values()) for row in rows] == [["mug", "count", 5, 5, "ann"], ["mug", "count", -2, 3, "bob"]]
    await assert_stock_adds_up(engine)


async def test_a_count_leaves_what_is_held_alone(engine: AsyncEngine) -> None:
    await count_items(engine, SHOP, [ItemCount("mug", "", 5)], actor="ann")
    await reserve(engine, request("h1", ("mug", 2)))
    await count_items(engine, SHOP, [ItemCount("mug", "", 10)], actor="ann")
    assert await stock_of(engine, "mug") == (8, 2)
    await count_items(engine, SHOP, [ItemCount("mug", "", 2)], actor="ann")
    assert await stock_of(engine, "mug") == (0, 2)
    await assert_stock_adds_up(engine)


async def test_a_count_below_what_is_held_changes_no_item(engine: AsyncEngine) -> None:
    await count_items(engine, SHOP, [ItemCount("mug", "", 5), ItemCount("cap", "", 5)], actor="ann")
    await reserve(engine, request("h1", ("mug", 2)))
    with pytest.raises(CountBelowHeldError) as refused:
        await count_items(
            engine, SHOP, [ItemCount("mug", "", 1), ItemCount("cap", "", 9), ItemCount("pen", "", 9)], actor="ann"
        )
    assert refused.value.items == (BelowHeld("mug", "", 1, 2, ("h1",)),)
    assert await stock_of(engine, "cap") == (5, 0)
    assert len((await list_items(engine, SHOP)).items) == 2
    await assert_stock_adds_up(engine)


async def test_a_count_below_what_is_held_names_the_ten_oldest_holds(engine: AsyncEngine) -> None:
    await count_items(engine, SHOP, [ItemCount("mug", "", 20)], actor="ann")
    for number in range(12):
        await reserve(engine, request(f"h{number:02}", ("mug", 1)))
    with pytest.raises(CountBelowHeldError) as refused:
        await count_items(engine, SHOP, [ItemCount("mug", "", 11)], actor="ann")
    assert refused.value.items == (BelowHeld("mug", "", 11, 12, tuple(f"h{n:02}" for n in range(10))),)


async def test_a_request_that_names_an_item_twice_is_refused(engine: AsyncEngine) -> None:
    with pytest.raises(ValueError, match="twice"):
        await count_items(engine, SHOP, [ItemCount("mug", "", 1), ItemCount("mug", "", 2)], actor="ann")


async def test_a_field_not_named_keeps_its_value_and_none_clears_it(engine: AsyncEngine) -> None:
    first = ItemCount("mug", "", 5, product_id="p-1", variant_attributes={"c": "red"}, low_stock_threshold=2)
    await count_items(engine, SHOP, [first], actor="ann")
    [kept] = await count_items(engine, SHOP, [ItemCount("mug", "", 5)], actor="ann")
    assert (kept.product_id, kept.variant_attributes, kept.low_stock_threshold) == ("p-1", {"c": "red"}, 2)
    cleared = ItemCount("mug", "", 5, product_id=None, variant_attributes=None, low_stock_threshold=None)
    [item] = await count_items(engine, SHOP, [cleared], actor="ann")
    assert (item.product_id, item.variant_attributes, item.low_stock_threshold) == (None, None, None)


async def test_counts_at_once_of_the_same_new_items_add_up(crowd: AsyncEngine) -> None:
    for round_number in range(10):
        counts = [ItemCount(f"sku-{round_number}-{n}", "", n + 1) for n in range(5)]
        await asyncio.gather(
            *(count_items(crowd, SHOP, counts[:: (-1) ** n], actor=f"staff-{n}") for n in range(8)),
            *(reserve(crowd, request(f"h{round_number}-{n}", (counts[n].sku, 1))) for n in range(5)),
        )
    await assert_stock_adds_up(crowd)


async def test_pages_follow_each_other_and_low_stock_is_named(engine: AsyncEngine) -> None:
    counts = [ItemCount(f"sku-{n}", "", n, low_stock_threshold=1) for n in range(5)]
    await count_items(engine, SHOP, counts, actor="ann")
    first = await list_items(engine, SHOP, limit=3)
    second = await list_items(engine, SHOP, limit=3, after=first.next_after)
    assert [item.sku for item in (*first.items, *second.items)] == [count.sku for count in counts]
    assert second.next_after is None
    assert [item.sku for item in (await list_items(engine, SHOP, low_stock=True)).items] == ["sku-0", "sku-1"]
    assert [item.sku for item in (await list_items(engine, SHOP, sku="sku-3")).items] == ["sku-3"]


async def test_what_is_short_is_read_once_for_an_item(engine: AsyncEngine) -> None:
    await count_items(engine, SHOP, [ItemCount("mug", "", 3)], actor="ann")
    wanted = [Line("mug", "", 2), Line("mug", "", 2), Line("ghost", "", 1)]
    short = await read_short(engine, SHOP, wanted)
    assert [(item.sku, item.requested, item.available, item.known) for item in short] == [
        ("ghost", 1, 0, False),
        ("mug", 4, 3, True),
    ]


async def test_a_count_of_locked_rows_or_without_a_free_connection_is_busy(tables: str) -> None:
    settings = Settings.read({"DATABASE_URL": tables, "INVENTORY_LOCK_TIMEOUT_MS": "100"})
    one, other = create_engine(settings, pool_size=1), create_engine(settings)
    await count_items(one, SHOP, [ItemCount("mug", "", 3)], actor="ann")
    async with one.connect() as holder:
        await holder.execution_options(isolation_level="READ COMMITTED")
        await fetch_on(holder, 'SELECT FROM "InventoryItem" FOR UPDATE', {})
        for engine in (one, other):
            with pytest.raises(DatabaseBusyError):
                await count_items(engine, SHOP, [ItemCount("mug", "", 4)], actor="ann")
    assert await stock_of(one, "mug") == (3, 0)
    await one.dispose()
    await other.dispose()
