"""Ending a hold: its stock, its movement, its one ending."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import DatabaseBusyError, fetch, fetch_on
from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import SHOP, end, put_item, request, stock_of
from domain.holds import HoldStatus, Line
from inventory.errors import ReturnAboveCommittedError
from inventory.holds import move_deadline, read_hold
from inventory.reserve import reserve
from inventory.returns import restock

ENDINGS = [HoldStatus.COMMITTED, HoldStatus.RELEASED, HoldStatus.EXPIRED]


@pytest.fixture
async def held(engine: AsyncEngine) -> AsyncEngine:
    """Five mugs and three caps, of which the hold `h1` has two and one."""
    await put_item(engine, "mug", 5)
    await put_item(engine, "cap", 3)
    await reserve(engine, request("h1", ("mug", 2), ("cap", 1)))
    return engine


@pytest.mark.parametrize(
    ("ending", "mugs", "caps"),
    [
        (HoldStatus.COMMITTED, (3, 0), (2, 0)),
        (HoldStatus.RELEASED, (5, 0), (3, 0)),
        (HoldStatus.EXPIRED, (5, 0), (3, 0)),
    ],
)
async def test_each_ending_moves_the_stock_and_says_when(
    held: AsyncEngine, ending: HoldStatus, mugs: tuple[int, int], caps: tuple[int, int]
) -> None:
    settled = await end(held, "h1", ending, payment="pi_1")
    assert settled is not None
    assert (settled.status, settled.changed) == (ending, True)
    assert settled.overdue < timedelta(minutes=-19)
    assert timedelta() <= settled.age < timedelta(minutes=1)
    assert await stock_of(held, "mug") == mugs
    assert await stock_of(held, "cap") == caps
    hold = await read_hold(held, SHOP, "h1")
    assert hold is not None
    times = {HoldStatus.COMMITTED: hold.committed_at, HoldStatus.RELEASED: hold.released_at}
    times[HoldStatus.EXPIRED] = hold.expired_at
    assert [status for status, at in times.items() if at] == [ending]
    assert (hold.status, hold.reason, hold.payment_intent_id) == (ending, "test", "pi_1")
    assert settled.hold == hold
    await assert_stock_adds_up(held)


async def test_a_commit_writes_the_movement_with_its_balance(held: AsyncEngine) -> None:
    await end(held, "h1", HoldStatus.COMMITTED)
    rows = await fetch(
        held,
        'SELECT sku, kind, delta, "onHand", "holdId", actor, reason FROM "InventoryMovement" WHERE "holdId" IS NOT NULL'
        " ORDER BY sku",
        {},
    )
    assert [list(row.values()) for row in rows] == [
        ["cap", "commit", -1, 2, "h1", "tester", "test"],
        ["mug", "commit", -2, 3, "h1", "tester", "test"],
    ]


@pytest.mark.parametrize("ending", [HoldStatus.RELEASED, HoldStatus.EXPIRED])
async def test_stock_that_comes_back_is_no_movement(held: AsyncEngine, ending: HoldStatus) -> None:
    await end(held, "h1", ending)
    assert await fetch(held, 'SELECT FROM "InventoryMovement" WHERE "holdId" IS NOT NULL', {}) == []


@pytest.mark.parametrize("first", ENDINGS)
@pytest.mark.parametrize("second", ENDINGS)
async def test_a_hold_that_has_ended_answers_how_and_stays_so(
    held: AsyncEngine, first: HoldStatus, second: HoldStatus
) -> None:
    await end(held, "h1", first, payment="pi_1")
    stock, hold = await stock_of(held, "mug"), await read_hold(held, SHOP, "h1")
    again = await end(held, "h1", second, payment="pi_2")
    assert again is not None
    assert (again.status, again.changed) == (first, False)
    assert await stock_of(held, "mug") == stock
    assert await read_hold(held, SHOP, "h1") == again.hold == hold
    await assert_stock_adds_up(held)


async def test_a_partial_commit_sells_those_units_and_gives_the_rest_back_in_one_statement(held: AsyncEngine) -> None:
    settled = await end(held, "h1", HoldStatus.COMMITTED, sold=[Line("mug", "", 1)])
    assert settled is not None
    assert (settled.status, settled.changed, settled.hold.sold) == (HoldStatus.COMMITTED, True, (Line("mug", "", 1),))
    assert await stock_of(held, "mug") == (4, 0)
    assert await stock_of(held, "cap") == (3, 0)
    movements = await fetch(held, "SELECT sku, delta FROM \"InventoryMovement\" WHERE kind = 'commit'", {})
    assert [tuple(row.values()) for row in movements] == [("mug", -1)]
    await restock(held, SHOP, "h1", None, actor="ann", reason="unworn")
    hold = await read_hold(held, SHOP, "h1")
    assert hold is not None
    assert [(each.sku, each.sold, each.given_back, each.restocked) for each in hold.results()] == [
        ("cap", 0, 1, 0),
        ("mug", 1, 1, 1),
    ]
    with pytest.raises(ReturnAboveCommittedError):
        await restock(held, SHOP, "h1", [Line("mug", "", 1)], actor="ann", reason="one that was never sold")
    await assert_stock_adds_up(held)


async def test_a_partial_commit_sells_no_more_than_the_hold_has(held: AsyncEngine) -> None:
    settled = await end(held, "h1", HoldStatus.COMMITTED, sold=[Line("mug", "", 9), Line("pen", "", 1)])
    assert settled is not None
    assert settled.hold.sold == (Line("mug", "", 2),)
    await assert_stock_adds_up(held)


async def test_a_commit_of_every_unit_by_name_is_a_full_one(held: AsyncEngine) -> None:
    settled = await end(held, "h1", HoldStatus.COMMITTED, sold=[Line("cap", "", 1), Line("mug", "", 2)])
    assert settled is not None
    assert settled.hold.sold is None
    await assert_stock_adds_up(held)


@pytest.mark.parametrize("first", [None, (Line("mug", "", 1),)])
async def test_the_first_commit_decides_what_is_sold(held: AsyncEngine, first: tuple[Line, ...] | None) -> None:
    await end(held, "h1", HoldStatus.COMMITTED, sold=first)
    for later in (None, (Line("cap", "", 1),)):
        settled = await end(held, "h1", HoldStatus.COMMITTED, sold=later)
        assert settled is not None
        assert (settled.changed, settled.hold.sold) == (False, first)
    await assert_stock_adds_up(held)


async def test_an_unknown_hold_is_none(held: AsyncEngine) -> None:
    assert await end(held, "h2", HoldStatus.RELEASED) is None
    assert await end(held, "h1", HoldStatus.RELEASED, shop="shop-2") is None
    assert await stock_of(held, "mug") == (3, 2)


async def test_a_hold_without_a_new_payment_keeps_the_one_it_has(held: AsyncEngine) -> None:
    await fetch(held, 'UPDATE "InventoryHold" SET "paymentIntentId" = \'pi_0\'', {})
    await end(held, "h1", HoldStatus.COMMITTED)
    hold = await read_hold(held, SHOP, "h1")
    assert hold is not None
    assert hold.payment_intent_id == "pi_0"


async def test_the_deadline_moves_while_active_and_never_after(held: AsyncEngine) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    assert await move_deadline(held, SHOP, "h1", later)
    assert not await move_deadline(held, SHOP, "h2", later)
    await end(held, "h1", HoldStatus.EXPIRED)
    assert not await move_deadline(held, SHOP, "h1", later + timedelta(hours=1))
    hold = await read_hold(held, SHOP, "h1")
    assert hold is not None
    assert (hold.status, hold.expires_at) == (HoldStatus.EXPIRED, later)


async def test_a_deadline_moves_back_only_from_the_one_that_is_named(held: AsyncEngine) -> None:
    first = await read_hold(held, SHOP, "h1")
    assert first is not None
    grace = first.expires_at + timedelta(days=22)
    for back_from, expected in ((None, grace), (grace - timedelta(days=1), grace), (grace, first.expires_at)):
        await move_deadline(held, SHOP, "h1", grace)
        assert await move_deadline(held, SHOP, "h1", first.expires_at, back_from=back_from)
        hold = await read_hold(held, SHOP, "h1")
        assert hold is not None
        assert hold.expires_at == expected


async def test_held_that_has_drifted_is_an_error_and_nothing_changes(held: AsyncEngine) -> None:
    await fetch(held, "UPDATE \"InventoryItem\" SET held = 1 WHERE sku = 'mug'", {})
    with pytest.raises(psycopg.IntegrityError, match="InventoryItem_held_check") as refused:
        await end(held, "h1", HoldStatus.RELEASED)
    assert refused.value.__cause__ is not refused.value  # Temporal follows causes to their end
    hold = await read_hold(held, SHOP, "h1")
    assert hold is not None
    assert hold.status is HoldStatus.ACTIVE
    assert await stock_of(held, "mug") == (3, 1)
    assert await stock_of(held, "cap") == (2, 1)


@pytest.mark.parametrize("table", ["InventoryHold", "InventoryItem"])
async def test_rows_locked_by_another_are_busy_and_nothing_changes(
    held: AsyncEngine, hurried: AsyncEngine, table: str
) -> None:
    async with held.connect() as other:
        await other.execution_options(isolation_level="READ COMMITTED")
        await fetch_on(other, f'SELECT FROM "{table}" FOR UPDATE', {})
        with pytest.raises(DatabaseBusyError, match="55P03"):
            await end(hurried, "h1", HoldStatus.COMMITTED)
    hold = await read_hold(held, SHOP, "h1")
    assert hold is not None
    assert hold.status is HoldStatus.ACTIVE
    settled = await end(hurried, "h1", HoldStatus.COMMITTED)
    assert settled is not None
    assert settled.changed
    await assert_stock_adds_up(held)
