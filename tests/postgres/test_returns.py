"""Returns: what was sold may come back, once, and no more of it than was sold."""

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch
from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import SHOP, end, put_item, request, stock_of
from domain.fields import MAX_ON_HAND
from domain.holds import HoldStatus, Line
from inventory.errors import (
    HoldNotCommittedError,
    KeyReusedError,
    ReturnAboveCommitted,
    ReturnAboveCommittedError,
    StockAboveLimitError,
    UnknownItemsError,
)
from inventory.reserve import reserve
from inventory.returns import restock

_LEDGER = """
SELECT sku, kind, delta, "onHand", "holdId", actor, reason FROM "InventoryMovement" WHERE kind = 'restock' ORDER BY id
"""


async def sold(engine: AsyncEngine, *lines: tuple[str, int], hold_id: str = "h1") -> None:
    """Sell a hold of the lines out of ten units each."""
    for sku in {sku for sku, _ in lines}:
        await put_item(engine, sku, 10)
    await reserve(engine, request(hold_id, *lines))
    await end(engine, hold_id, HoldStatus.COMMITTED)


async def back(
    engine: AsyncEngine, *lines: tuple[str, int], key: str | None = None, hold_id: str = "h1"
) -> dict[str, int] | None:
    """Restock the lines, or all, and return what has come back by now."""
    asked = [Line(sku, "", quantity) for sku, quantity in lines] or None
    found = await restock(engine, SHOP, hold_id, asked, actor="ann", reason="unworn", key=key)
    return None if found is None else {line.sku: line.quantity for line in found}


async def test_what_comes_back_is_on_hand_again_and_in_the_ledger_with_its_hold(engine: AsyncEngine) -> None:
    await sold(engine, ("mug", 3), ("cap", 1))
    assert await back(engine, ("mug", 2)) == {"mug": 2}
    assert await stock_of(engine, "mug") == (9, 0)
    assert await stock_of(engine, "cap") == (9, 0)
    [row] = await fetch(engine, _LEDGER, {})
    assert list(row.values()) == ["mug", "restock", 2, 9, "h1", "ann", "unworn"]
    await assert_stock_adds_up(engine)


async def test_without_items_all_that_is_still_out_comes_back_and_a_repeat_finds_nothing_left(
    engine: AsyncEngine,
) -> None:
    await sold(engine, ("mug", 3), ("cap", 1))
    await back(engine, ("mug", 1))
    assert await back(engine) == {"mug": 3, "cap": 1}
    assert await back(engine) == {"mug": 3, "cap": 1}
    assert await stock_of(engine, "mug") == (10, 0)
    await assert_stock_adds_up(engine)


async def test_of_a_hold_of_which_nothing_was_sold_nothing_comes_back(engine: AsyncEngine) -> None:
    await put_item(engine, "mug", 10)
    await reserve(engine, request("h1", ("mug", 3)))
    await end(engine, "h1", HoldStatus.COMMITTED, sold=[Line("cap", "", 1)])
    assert await back(engine) == {}
    await assert_stock_adds_up(engine)


async def test_no_more_comes_back_than_was_sold(engine: AsyncEngine) -> None:
    await sold(engine, ("mug", 3), ("cap", 1))
    await back(engine, ("mug", 2))
    with pytest.raises(ReturnAboveCommittedError) as refused:
        await back(engine, ("mug", 2), ("pen", 1), ("cap", 1))
    assert refused.value.items == (ReturnAboveCommitted("mug", "", 2, 3, 2), ReturnAboveCommitted("pen", "", 1, 0, 0))
    assert await stock_of(engine, "cap") == (9, 0)
    await assert_stock_adds_up(engine)


async def test_a_repeat_with_the_key_takes_back_once(engine: AsyncEngine) -> None:
    await sold(engine, ("mug", 3))
    assert await back(engine, ("mug", 1), key="k1") == {"mug": 1}
    await back(engine, ("mug", 2))
    assert await back(engine, ("mug", 1), key="k1") == {"mug": 1}
    with pytest.raises(KeyReusedError):
        await back(engine, ("mug", 2), key="k1")
    assert await stock_of(engine, "mug") == (10, 0)


async def test_returns_at_once_never_bring_back_more_than_was_sold(crowd: AsyncEngine) -> None:
    await sold(crowd, ("mug", 3), ("cap", 3))
    work = (back(crowd, ("cap", 1), ("mug", 1)) if n % 2 else back(crowd, ("mug", 1), ("cap", 1)) for n in range(12))
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    assert sum(isinstance(outcome, dict) for outcome in outcomes) == 3
    assert sum(isinstance(outcome, ReturnAboveCommittedError) for outcome in outcomes) == 9
    assert await stock_of(crowd, "mug") == (10, 0)
    assert await back(crowd) == {"mug": 3, "cap": 3}
    await assert_stock_adds_up(crowd)


async def test_one_key_at_once_takes_back_once(crowd: AsyncEngine) -> None:
    await sold(crowd, ("mug", 3))
    answers = await asyncio.gather(*(back(crowd, ("mug", 1), key="k1") for _ in range(8)))
    assert answers == [{"mug": 1}] * 8
    assert await stock_of(crowd, "mug") == (8, 0)


async def test_one_key_for_two_holds_at_once_takes_back_for_one(crowd: AsyncEngine) -> None:
    await sold(crowd, ("mug", 1))
    await sold(crowd, ("cap", 1), hold_id="h2")
    work = [back(crowd, key="k1"), back(crowd, key="k1", hold_id="h2")]
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {KeyReusedError, dict}
    await assert_stock_adds_up(crowd)


@pytest.mark.parametrize("status", [HoldStatus.ACTIVE, HoldStatus.RELEASED, HoldStatus.EXPIRED])
async def test_of_a_hold_that_was_not_sold_nothing_comes_back(engine: AsyncEngine, status: HoldStatus) -> None:
    await put_item(engine, "mug", 10)
    await reserve(engine, request("h1", ("mug", 3)))
    if status is not HoldStatus.ACTIVE:
        await end(engine, "h1", status)
    with pytest.raises(HoldNotCommittedError) as refused:
        await back(engine)
    assert refused.value.status is status
    await assert_stock_adds_up(engine)


async def test_of_a_hold_that_is_not_there_nothing_is_known(engine: AsyncEngine) -> None:
    assert await back(engine) is None


async def test_what_cannot_be_on_hand_does_not_come_back(engine: AsyncEngine) -> None:
    await sold(engine, ("mug", 1), ("cap", 1))
    await fetch(engine, 'UPDATE "InventoryItem" SET quantity = %(n)s', {"n": MAX_ON_HAND})
    with pytest.raises(StockAboveLimitError):
        await back(engine)
    await fetch(engine, "DELETE FROM \"InventoryItem\" WHERE sku = 'mug'", {})
    with pytest.raises(UnknownItemsError):
        await back(engine)
