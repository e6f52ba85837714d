"""What one order and one buyer can have, whatever runs at the same time."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch
from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import SHOP, end, is_new, put_item, request, until_waiting
from domain.amendments import Amended, AmendRequest
from domain.holds import Held, HoldStatus, Line, OverLimit, ReserveRequest
from domain.limits import BuyerLimits, ExceededLimit
from inventory.amend import amend
from inventory.checks import CheckQuestion, check_requests
from inventory.reserve import reserve
from inventory.returns import restock
from tests.postgres.locking import holding

SET = 'UPDATE "InventoryItem" SET "maxPerOrder" = %(order)s, "maxPerBuyer" = %(buyer)s WHERE sku = %(sku)s'


async def limited(engine: AsyncEngine, sku: str, *, order: int | None = None, buyer: int | None = None) -> None:
    await put_item(engine, sku, 100)
    await fetch(engine, SET, {"sku": sku, "order": order, "buyer": buyer})


def of(buyer: str | None, hold_id: str, *lines: tuple[str, int]) -> ReserveRequest:
    return replace(request(hold_id, *lines), buyer=buyer)


def told(outcome: object) -> list[ExceededLimit]:
    assert isinstance(outcome, OverLimit)
    return list(outcome.limits)


@pytest.fixture
async def shop(crowd: AsyncEngine) -> AsyncEngine:
    """Two mugs in an order, three caps for a buyer."""
    await limited(crowd, "mug", order=2)
    await limited(crowd, "cap", buyer=3)
    await put_item(crowd, "pen", 100)
    return crowd


@pytest.mark.parametrize("buyer", [None, "b-1"])
async def test_an_order_has_at_most_so_many(shop: AsyncEngine, buyer: str | None) -> None:
    too_many = of(buyer, "h-1", ("mug", 3), ("cap", 4), ("pen", 50))
    found = told(await reserve(shop, too_many))
    assert found == [
        ExceededLimit("maxPerOrder", 2, 0, 3, "mug", ""),
        ExceededLimit("maxPerBuyer", 3, 0, 4, "cap", ""),
    ]
    nobody_s = CheckQuestion(SHOP, "h-1", too_many.lines)
    [check, other] = await check_requests(shop, [replace(nobody_s, buyer=buyer), nobody_s])
    assert list(check.over) == list(other.over) == found
    assert is_new(await reserve(shop, of(buyer, "h-1", ("mug", 2), ("cap", 3))))
    assert is_new(await reserve(shop, of(buyer, "h-2", ("mug", 2))))
    await assert_stock_adds_up(shop)


async def test_a_buyer_s_active_and_sold_units_count_less_returns_within_the_window(shop: AsyncEngine) -> None:
    assert is_new(await reserve(shop, of("b-1", "h-1", ("cap", 2))))
    assert told(await reserve(shop, of("b-1", "h-2", ("cap", 2)))) == [ExceededLimit("maxPerBuyer", 3, 2, 2, "cap", "")]
    assert is_new(await reserve(shop, of("b-2", "h-3", ("cap", 3))))
    await end(shop, "h-1", HoldStatus.COMMITTED)
    assert isinstance(await reserve(shop, of("b-1", "h-2", ("cap", 2))), OverLimit)
    brief = BuyerLimits(window_seconds=0)
    assert is_new(await reserve(shop, of("b-1", "h-4", ("cap", 3)), brief))
    await end(shop, "h-4", HoldStatus.RELEASED)
    await restock(shop, SHOP, "h-1", [Line("cap", "", 1)], actor="staff", reason="back")
    assert is_new(await reserve(shop, of("b-1", "h-2", ("cap", 2))))
    await assert_stock_adds_up(shop)


async def test_the_shop_s_own_limits_count_units_and_active_holds(shop: AsyncEngine) -> None:
    limits = BuyerLimits(active_holds=2, units=5)
    assert is_new(await reserve(shop, of("b-1", "h-1", ("pen", 3)), limits))
    assert told(await reserve(shop, of("b-1", "h-2", ("pen", 2), ("mug", 1)), limits)) == [
        ExceededLimit("maxUnitsPerBuyer", 5, 3, 3)
    ]
    assert is_new(await reserve(shop, of("b-1", "h-2", ("pen", 1)), limits))
    assert told(await reserve(shop, of("b-1", "h-3", ("pen", 1)), limits)) == [
        ExceededLimit("maxActiveHoldsPerBuyer", 2, 2, 1)
    ]
    assert is_new(await reserve(shop, of(None, "h-3", ("pen", 50)), limits))
    assert is_new(await reserve(shop, of("b-2", "h-4", ("pen", 5)), limits))


async def test_an_amendment_counts_all_but_the_hold_itself_and_refuses_only_what_grows(shop: AsyncEngine) -> None:
    await reserve(shop, of("b-1", "h-1", ("cap", 2)))
    await reserve(shop, of("b-1", "h-2", ("cap", 1)))
    change = AmendRequest(SHOP, "h-2", "a", "hash", "test", (Line("cap", "", 2),))
    assert told(await amend(shop, change)) == [ExceededLimit("maxPerBuyer", 3, 2, 2, "cap", "")]
    await fetch(shop, SET, {"sku": "cap", "order": None, "buyer": 1})
    fewer = replace(change, request_id="b", lines=(Line("cap", "", 1), Line("pen", "", 1)))
    assert isinstance(await amend(shop, fewer), Amended)
    assert isinstance(await amend(shop, replace(change, request_id="c", buyer="b-2")), OverLimit)
    assert isinstance(await amend(shop, replace(change, request_id="d", lines=None, buyer="b-2")), Amended)
    await reserve(shop, of(None, "h-3", ("cap", 1)))
    anothers = AmendRequest(SHOP, "h-3", "e", "hash", "test", buyer="b-2")
    assert told(await amend(shop, anothers)) == [ExceededLimit("maxPerBuyer", 1, 1, 1, "cap", "")]


async def test_an_exchange_does_not_count_what_it_gives_up(shop: AsyncEngine) -> None:
    limits = BuyerLimits(active_holds=1, units=3)
    await reserve(shop, replace(of("b-1", "h-1", ("cap", 3)), reference="cart"), limits)
    wanted = replace(of("b-1", "h-2", ("cap", 3)), reference="cart", replaces="h-1")
    question = CheckQuestion(SHOP, "h-2", wanted.lines, "cart", replace=True, buyer="b-1", limits=limits)
    exchange, another = await check_requests(shop, [question, replace(question, replace=False)])
    assert exchange.over == ()
    assert [limit.limit for limit in another.over] == ["maxPerBuyer", "maxUnitsPerBuyer", "maxActiveHoldsPerBuyer"]
    assert is_new(await reserve(shop, wanted, limits))
    assert isinstance(
        await reserve(shop, replace(wanted, hold_id="h-3", replaces="h-2", lines=(Line("cap", "", 4),))), OverLimit
    )
    await assert_stock_adds_up(shop)


async def test_one_buyer_s_requests_at_once_never_pass_the_limits(shop: AsyncEngine) -> None:
    limits = BuyerLimits(active_holds=4, units=8)
    for turn in range(5):
        buyer = f"b-{turn}"
        orders = [of(buyer, f"h-{turn}-{n}", ("cap", 1), ("pen", 1)) for n in range(12)]
        outcomes = await asyncio.gather(*(reserve(shop, order, limits) for order in orders))
        assert sum(is_new(outcome) for outcome in outcomes) == 3
        changes = [
            AmendRequest(SHOP, order.hold_id, f"{n}", "hash", "test", (Line("cap", "", 2),))
            for n, order in enumerate(orders)
        ]
        changed = await asyncio.gather(*(amend(shop, change, limits) for change in changes))
        assert not any(isinstance(outcome, Amended) for outcome in changed)
    await assert_stock_adds_up(shop)


async def test_another_statement_of_the_same_buyer_is_seen_even_if_it_ended_while_this_one_waited(
    shop: AsyncEngine,
) -> None:
    async with holding(shop, "cap"):
        both = [asyncio.create_task(reserve(shop, of("b-1", hold_id, ("cap", 2)))) for hold_id in ("h-1", "h-2")]
        await until_waiting(shop, 2)
    outcomes = await asyncio.gather(*both)
    assert {type(outcome) for outcome in outcomes} == {Held, OverLimit}
