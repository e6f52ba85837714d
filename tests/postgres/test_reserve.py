"""Taking stock into a hold: what is promised of one call."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import DatabaseBusyError, fetch, fetch_on
from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import SHOP, end, is_new, put_item, request, stock_of, too_late
from domain.holds import Held, HoldStatus, Line, ReferenceTaken, ReserveOutcome, Shortage, ShortItem, TooLate
from inventory.checks import CheckQuestion, check_requests
from inventory.holds import read_hold
from inventory.reserve import reserve


def short(outcome: ReserveOutcome) -> list[tuple[str, str, int, int]]:
    """Return (sku, variant, requested, available) of a shortage's items."""
    assert isinstance(outcome, Shortage)
    return [(item.sku, item.variant_key, item.requested, item.available) for item in outcome.items]


async def test_a_hold_takes_from_what_can_be_sold_into_what_is_held(engine: AsyncEngine) -> None:
    await put_item(engine, "mug", 5)
    wanted = request("h1", ("mug", 2), reference="order-1")
    assert is_new(await reserve(engine, wanted))
    assert await stock_of(engine, "mug") == (3, 2)
    hold = await read_hold(engine, SHOP, "h1")
    assert hold is not None
    assert (hold.status, hold.reference, hold.lines) == (HoldStatus.ACTIVE, "order-1", (Line("mug", "", 2),))
    assert (hold.created_at, hold.expires_at) == (wanted.created_at, wanted.expires_at)
    await assert_stock_adds_up(engine)


async def test_a_line_keeps_what_the_item_is(engine: AsyncEngine) -> None:
    await put_item(engine, "mug", 5)
    await fetch(engine, """UPDATE "InventoryItem" SET "productId" = 'p-1', "variantAttributes" = '{"c": "red"}'""", {})
    await reserve(engine, request("h1", ("mug", 1)))
    [row] = await fetch(engine, 'SELECT "productId", "variantAttributes" FROM "InventoryHoldItem"', {})
    assert (row["productId"], row["variantAttributes"]) == ("p-1", {"c": "red"})


async def test_one_short_line_leaves_every_line_alone(engine: AsyncEngine) -> None:
    await put_item(engine, "mug", 5)
    await put_item(engine, "cap", 1)
    outcome = await reserve(engine, request("h1", ("mug", 2), ("cap", 2), ("ghost", 1)))
    assert short(outcome) == [("cap", "", 2, 1), ("ghost", "", 1, 0)]
    assert await stock_of(engine, "mug") == (5, 0)
    assert await read_hold(engine, SHOP, "h1") is None


async def test_the_same_item_on_two_lines_is_one_demand(engine: AsyncEngine) -> None:
    await put_item(engine, "mug", 3)
    assert short(await reserve(engine, request("h1", ("mug", 2), ("mug", 2)))) == [("mug", "", 4, 3)]
    assert is_new(await reserve(engine, request("h2", ("mug", 2), ("mug", 1))))
    hold = await read_hold(engine, SHOP, "h2")
    assert hold is not None
    assert hold.lines == (Line("mug", "", 3),)
    assert await stock_of(engine, "mug") == (0, 3)


async def test_a_sum_beyond_an_integer_is_a_shortage(engine: AsyncEngine) -> None:
    await put_item(engine, "mug", 3)
    most = 2**31 - 1
    assert short(await reserve(engine, request("h1", ("mug", most), ("mug", most)))) == [("mug", "", 2 * most, 3)]


async def test_a_variant_and_another_shop_have_stock_of_their_own(engine: AsyncEngine) -> None:
    await put_item(engine, "shirt", 1, variant="size:M")
    await put_item(engine, "shirt", 1, shop="shop-2")
    assert short(await reserve(engine, request("h1", ("shirt", 1)))) == [("shirt", "", 1, 0)]
    assert is_new(await reserve(engine, request("h1", Line("shirt", "size:M", 1))))
    assert is_new(await reserve(engine, request("h1", ("shirt", 1), shop="shop-2")))
    assert await stock_of(engine, "shirt", "size:M") == (0, 1)
    assert await stock_of(engine, "shirt", shop="shop-2") == (0, 1)


async def test_a_hundred_lines_are_one_hold(engine: AsyncEngine) -> None:
    skus = [f"sku-{number:03}" for number in range(100)]
    for sku in skus:
        await put_item(engine, sku, 1)
    assert is_new(await reserve(engine, request("h1", *((sku, 1) for sku in reversed(skus)))))
    await assert_stock_adds_up(engine)


@pytest.mark.parametrize("ending", [None, HoldStatus.COMMITTED, HoldStatus.RELEASED, HoldStatus.EXPIRED])
async def test_a_repeat_answers_the_hold_as_it_is_and_takes_nothing(
    engine: AsyncEngine, ending: HoldStatus | None
) -> None:
    await put_item(engine, "mug", 1)
    wanted = request("h1", ("mug", 1))
    assert is_new(await reserve(engine, wanted))
    if ending:
        await end(engine, "h1", ending)
    before = await stock_of(engine, "mug")
    for repeated in (wanted, too_late(wanted), replace(wanted, lines=(Line("ghost", "", 9),))):
        outcome = await reserve(engine, repeated)
        assert isinstance(outcome, Held)
        assert not outcome.created
        assert outcome.status == (ending or HoldStatus.ACTIVE)
        assert outcome.lines == (Line("mug", "", 1),)
    assert await stock_of(engine, "mug") == before
    await assert_stock_adds_up(engine)


async def test_a_reference_has_one_active_hold_in_a_shop(engine: AsyncEngine) -> None:
    await put_item(engine, "mug", 5)
    await put_item(engine, "mug", 5, shop="shop-2")
    assert is_new(await reserve(engine, request("h1", ("mug", 1), reference="order-1")))
    assert await reserve(engine, request("h2", ("mug", 1), reference="order-1")) == ReferenceTaken("h1")
    assert await reserve(engine, request("h2", ("mug", 9), reference="order-1")) == ReferenceTaken("h1")
    assert is_new(await reserve(engine, request("h2", ("mug", 1), reference="order-1", shop="shop-2")))
    assert await stock_of(engine, "mug") == (4, 1)
    await end(engine, "h1", HoldStatus.RELEASED)
    assert is_new(await reserve(engine, request("h2", ("mug", 1), reference="order-1")))
    await assert_stock_adds_up(engine)


async def test_a_caller_that_has_gone_gets_nothing(engine: AsyncEngine) -> None:
    await put_item(engine, "mug", 5)
    assert await reserve(engine, too_late(request("h1", ("mug", 1)))) == TooLate()
    assert await reserve(engine, too_late(request("h1", ("mug", 9)))) == TooLate()
    assert await read_hold(engine, SHOP, "h1") is None
    assert await stock_of(engine, "mug") == (5, 0)


async def test_a_refusal_is_not_remembered(engine: AsyncEngine) -> None:
    await put_item(engine, "mug", 1)
    await reserve(engine, request("h1", ("mug", 1)))
    assert isinstance(await reserve(engine, request("h2", ("mug", 1))), Shortage)
    await end(engine, "h1", HoldStatus.EXPIRED)
    assert is_new(await reserve(engine, request("h2", ("mug", 1))))


async def test_rows_locked_by_another_are_busy_after_the_lock_timeout(
    engine: AsyncEngine, hurried: AsyncEngine
) -> None:
    await put_item(engine, "mug", 5)
    async with engine.connect() as other:
        await other.execution_options(isolation_level="READ COMMITTED")
        await fetch_on(other, 'SELECT FROM "InventoryItem" FOR UPDATE', {})
        with pytest.raises(DatabaseBusyError, match="55P03"):  # the lock's limit, not the statement's
            await reserve(hurried, request("h1", ("mug", 1)))
    assert await read_hold(engine, SHOP, "h1") is None
    assert await stock_of(engine, "mug") == (5, 0)
    assert is_new(await reserve(hurried, request("h1", ("mug", 1))))


async def test_a_replacement_counts_what_the_replaced_hold_gives_back(engine: AsyncEngine) -> None:
    await put_item(engine, "mug", 3)
    await reserve(engine, request("h1", ("mug", 2), reference="cart-1"))
    lines = (Line("mug", "", 3),)
    plain = CheckQuestion(SHOP, "h2", lines, reference="cart-1")
    refused, instead, own = await check_requests(
        engine, [plain, replace(plain, replace=True), replace(plain, hold_id="h1")]
    )
    assert refused.reference_hold_id == "h1"
    assert [item.available for item in refused.short] == [1]
    assert instead.short == ()
    assert own.own is not None
    assert own.reference_hold_id is None


async def test_requests_that_are_checked_together_are_answered_each_for_itself(engine: AsyncEngine) -> None:
    for shop, on_hand in ((SHOP, 3), ("shop-2", 1)):
        await put_item(engine, "mug", on_hand, shop=shop)
    await reserve(engine, request("h1", ("mug", 1)))
    two = (Line("cup", "", 1), Line("mug", "", 2))
    checks = await check_requests(
        engine,
        [
            CheckQuestion(SHOP, "new", two),
            CheckQuestion("shop-2", "h1", two, reserve_before=datetime(2026, 1, 1, tzinfo=UTC)),
            CheckQuestion(SHOP, "h1", ()),
            CheckQuestion(SHOP, "new", two[1:]),
        ],
    )
    cup = ShortItem("cup", "", 1, 0, known=False)
    assert [check.short for check in checks] == [(cup,), (cup, ShortItem("mug", "", 2, 1)), (), ()]
    assert [check.own is not None for check in checks] == [False, False, True, False]
    assert [check.too_late for check in checks] == [False, True, False, False]
