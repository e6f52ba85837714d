"""Adjustments: by a difference, once for a key, never into what is held."""

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch, fetch_on
from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import SHOP, is_new, put_item, request, stock_of, until_waiting
from domain.fields import MAX_ON_HAND
from inventory.adjustments import Adjustment, adjust_items
from inventory.errors import (
    BelowZero,
    KeyReusedError,
    StockAboveLimitError,
    StockBelowZeroError,
    UnknownItemsError,
)
from inventory.items import Item, ItemName
from inventory.reserve import reserve

_LEDGER = """
SELECT sku, kind, delta, "onHand", actor, reason, "idempotencyKey" FROM "InventoryMovement" WHERE kind = 'adjust'
ORDER BY id
"""


async def adjust(engine: AsyncEngine, *deltas: tuple[str, int], key: str | None = None) -> list[Item]:
    return await adjust_items(
        engine, SHOP, [Adjustment(sku, "", delta, "broken") for sku, delta in deltas], actor="ann", key=key
    )


async def test_an_adjustment_moves_each_item_by_its_difference_and_says_who_and_why(engine: AsyncEngine) -> None:
    await put_item(engine, "mug", 5)
    await put_item(engine, "cap", 1)
    items = await adjust(engine, ("mug", -2), ("cap", 4), key="k1")
    assert [(item.sku, item.quantity, item.on_hand) for item in items] == [("cap", 5, 5), ("mug", 3, 3)]
    rows = [list(row.values()) for row in await fetch(engine, _LEDGER, {})]
    assert rows == [["cap", "adjust", 4, 5, "ann", "broken", "k1"], ["mug", "adjust", -2, 3, "ann", "broken", "k1"]]
    await assert_stock_adds_up(engine)


async def test_what_is_held_cannot_be_taken_away_and_its_holds_are_named(engine: AsyncEngine) -> None:
    await put_item(engine, "mug", 5)
    await put_item(engine, "cap", 5)
    await reserve(engine, request("h1", ("mug", 2)))
    with pytest.raises(StockBelowZeroError) as refused:
        await adjust(engine, ("mug", -4), ("cap", 1), key="k1")
    assert refused.value.items == (BelowZero("mug", "", -4, 3, 2, ("h1",)),)
    assert await stock_of(engine, "cap") == (5, 0)
    await adjust(engine, ("mug", -3), key="k1")
    assert await stock_of(engine, "mug") == (0, 2)
    await assert_stock_adds_up(engine)


async def test_items_that_the_shop_does_not_have_are_named_and_nothing_is_changed(engine: AsyncEngine) -> None:
    await put_item(engine, "mug", 5)
    with pytest.raises(UnknownItemsError) as refused:
        await adjust(engine, ("mug", 1), ("gum", 1), ("map", -1))
    assert refused.value.items == (ItemName("gum", ""), ItemName("map", ""))
    assert await stock_of(engine, "mug") == (5, 0)


async def test_more_than_a_billion_units_are_no_stock(engine: AsyncEngine) -> None:
    await put_item(engine, "mug", MAX_ON_HAND)
    await put_item(engine, "much", 2**31 - 1)
    for sku, delta in (("mug", 1), ("mug", MAX_ON_HAND), ("much", MAX_ON_HAND)):
        with pytest.raises(StockAboveLimitError):
            await adjust(engine, (sku, delta))
    assert await stock_of(engine, "mug") == (MAX_ON_HAND, 0)


async def test_a_repeat_with_the_key_gets_the_first_answer_and_changes_nothing(engine: AsyncEngine) -> None:
    await put_item(engine, "mug", 5)
    await put_item(engine, "cap", 5)
    first = await adjust(engine, ("mug", -5), ("cap", 1), key="k1")
    await adjust(engine, ("mug", 7))
    assert await adjust(engine, ("cap", 1), ("mug", -5), key="k1") == first
    assert await stock_of(engine, "mug") == (7, 0)
    for other in ((("mug", -5),), (("mug", -4), ("cap", 1)), (("gum", 1),)):
        with pytest.raises(KeyReusedError):
            await adjust(engine, *other, key="k1")
    await assert_stock_adds_up(engine)


async def test_a_refusal_is_not_remembered(engine: AsyncEngine) -> None:
    await put_item(engine, "mug", 1)
    with pytest.raises(StockBelowZeroError):
        await adjust(engine, ("mug", -2), key="k1")
    await adjust(engine, ("mug", 1))
    await adjust(engine, ("mug", -2), key="k1")
    assert await stock_of(engine, "mug") == (0, 0)


async def test_a_key_counts_within_its_shop(engine: AsyncEngine) -> None:
    for shop in ("shop-1", "shop-2"):
        await put_item(engine, "mug", 5, shop=shop)
        await adjust_items(engine, shop, [Adjustment("mug", "", -1, "broken")], actor="ann", key="k1")
        assert await stock_of(engine, "mug", shop=shop) == (4, 0)


async def test_without_a_key_each_is_a_correction_of_its_own(engine: AsyncEngine) -> None:
    await put_item(engine, "mug", 5)
    await adjust(engine, ("mug", -1))
    await adjust(engine, ("mug", -1))
    assert await stock_of(engine, "mug") == (3, 0)


async def test_twelve_at_once_with_one_key_are_one_also_for_the_last_unit(crowd: AsyncEngine) -> None:
    for number in range(5):
        sku = f"mug-{number}"
        await put_item(crowd, sku, 1)
        answers = await asyncio.gather(*(adjust(crowd, (sku, -1), key=sku) for _ in range(12)))
        assert all(answer == answers[0] for answer in answers)
        assert await stock_of(crowd, sku) == (0, 0)
    await assert_stock_adds_up(crowd)


async def test_of_two_bodies_at_once_with_one_key_one_is_made(crowd: AsyncEngine) -> None:
    for number in range(5):
        skus = [f"mug-{number}-{each}" for each in range(6)]
        for sku in skus:
            await put_item(crowd, sku, 1)
        work = (adjust(crowd, (sku, -1), key=f"k{number}") for sku in skus)
        answers = await asyncio.gather(*work, return_exceptions=True)
        assert sum(isinstance(answer, list) for answer in answers) == 1
        assert sum(isinstance(answer, KeyReusedError) for answer in answers) == 5
        assert sum([(await stock_of(crowd, sku))[0] for sku in skus]) == 5
    await assert_stock_adds_up(crowd)


async def test_an_adjustment_and_a_hold_cannot_both_have_the_last_unit(crowd: AsyncEngine) -> None:
    await put_item(crowd, "mug", 1)
    async with crowd.connect() as gate:
        await gate.execution_options(isolation_level="READ COMMITTED")
        await fetch_on(gate, 'SELECT FROM "InventoryItem" FOR UPDATE', {})
        hold = asyncio.create_task(reserve(crowd, request("h1", ("mug", 1))))
        await until_waiting(crowd, 1)
        loss = asyncio.create_task(adjust(crowd, ("mug", -1)))
        await until_waiting(crowd, 2)
        await gate.rollback()
    outcomes = await asyncio.gather(hold, loss, return_exceptions=True)
    assert is_new(outcomes[0]) == isinstance(outcomes[1], StockBelowZeroError)
    await assert_stock_adds_up(crowd)


async def test_adjustments_that_name_items_in_opposite_order_never_deadlock(crowd: AsyncEngine) -> None:
    skus = ["a", "b", "c", "d"]
    for sku in skus:
        await put_item(crowd, sku, 1000)
    for _ in range(20):
        await asyncio.gather(*(adjust(crowd, *((sku, -1) for sku in skus[:: (-1) ** n])) for n in range(8)))
    assert await stock_of(crowd, "a") == (1000 - 160, 0)
    await assert_stock_adds_up(crowd)
