"""Retired items: no new hold can have them, what they have stays."""

import asyncio

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch_on
from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import SHOP, end, is_new, put_item, request, stock_of, until_waiting
from domain.holds import HoldStatus, Line, Shortage, ShortItem
from inventory.adjustments import Adjustment, adjust_items
from inventory.checks import CheckQuestion, check_requests
from inventory.counts import ItemCount, count_items
from inventory.items import list_items, read_short
from inventory.reserve import reserve

RETIRED = (ShortItem("mug", "", 1, 0, retired=True),)


async def retire(engine: AsyncEngine, on_hand: int, *, retired: bool = True) -> None:
    await count_items(engine, SHOP, [ItemCount("mug", "", on_hand, retired=retired)], actor="ann")


async def test_a_retired_item_cannot_be_held_and_its_active_holds_go_on(engine: AsyncEngine) -> None:
    await put_item(engine, "mug", 5)
    await reserve(engine, request("sold", ("mug", 1)))
    await reserve(engine, request("back", ("mug", 1)))
    await retire(engine, 5)
    assert await reserve(engine, request("new", ("mug", 1))) == Shortage(RETIRED)
    assert await read_short(engine, SHOP, [Line("mug", "", 1)]) == RETIRED
    await end(engine, "sold", HoldStatus.COMMITTED)
    await end(engine, "back", HoldStatus.RELEASED)
    assert await stock_of(engine, "mug") == (4, 0)
    await assert_stock_adds_up(engine)


async def test_a_retired_item_is_not_promised_to_the_one_who_gives_it_back(engine: AsyncEngine) -> None:
    await put_item(engine, "mug", 1)
    await reserve(engine, request("old", ("mug", 1), reference="cart-1"))
    await retire(engine, 1)
    question = CheckQuestion(SHOP, "new", (Line("mug", "", 1),), reference="cart-1", replace=True)
    [standing] = await check_requests(engine, [question])
    assert standing.short == RETIRED


async def test_an_item_is_revived_by_a_count_that_says_so_and_by_no_other(engine: AsyncEngine) -> None:
    await put_item(engine, "mug", 5)
    await retire(engine, 5)
    await count_items(engine, SHOP, [ItemCount("mug", "", 7)], actor="ann")
    await adjust_items(engine, SHOP, [Adjustment("mug", "", 1, "found")], actor="ann")
    assert isinstance(await reserve(engine, request("new", ("mug", 1))), Shortage)
    [before] = (await list_items(engine, SHOP, retired=True)).items
    await retire(engine, 8)
    assert (await list_items(engine, SHOP, retired=True)).items[0].retired_at == before.retired_at
    await retire(engine, 8, retired=False)
    assert is_new(await reserve(engine, request("new", ("mug", 1))))
    assert (await list_items(engine, SHOP, retired=True)).items == ()
    await assert_stock_adds_up(engine)


async def test_a_retired_item_is_not_low_on_stock(engine: AsyncEngine) -> None:
    counts = [ItemCount("mug", "", 1, low_stock_threshold=5, retired=True), ItemCount("cap", "", 1, "c", None, 5)]
    await count_items(engine, SHOP, counts, actor="ann")
    assert [item.sku for item in (await list_items(engine, SHOP, low_stock=True)).items] == ["cap"]
    assert [item.sku for item in (await list_items(engine, SHOP, retired=False)).items] == ["cap"]


async def test_a_hold_that_waits_for_an_item_which_is_being_retired_does_not_get_it(crowd: AsyncEngine) -> None:
    await put_item(crowd, "mug", 5)
    async with crowd.connect() as gate:
        await gate.execution_options(isolation_level="READ COMMITTED")
        await fetch_on(gate, 'UPDATE "InventoryItem" SET "retiredAt" = now()', {})
        hold = asyncio.create_task(reserve(crowd, request("h1", ("mug", 1))))
        await until_waiting(crowd, 1)
        await gate.commit()
    assert await hold == Shortage(RETIRED)
    assert await stock_of(crowd, "mug") == (5, 0)
