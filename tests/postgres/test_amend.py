"""Amending an active hold: the whole new set or nothing, whatever happens at the same time."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch
from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import SHOP, end, put_item, request, stock_of, until_waiting
from domain.amendments import Amended, AmendRequest, KeyReused, NotActive
from domain.holds import HoldStatus, Line, ReferenceTaken, Shortage
from inventory.amend import amend
from inventory.archive import archive_holds
from inventory.hold_payments import claim_late_payment
from inventory.holds import read_hold
from inventory.reserve import reserve
from tests.postgres.locking import holding

COUNTED = 'SELECT count(*) AS n FROM "InventoryHoldAmendment"'


def change(hold_id: str, *lines: tuple[str, int], key: str = "a", **fields: object) -> AmendRequest:
    """Return a change to these lines, without lines one of the other fields only."""
    items = tuple(Line(sku, "", n) for sku, n in lines) or None
    return replace(AmendRequest(SHOP, hold_id, key, f"hash-{lines}-{fields}", "test", items), **fields)  # type: ignore[arg-type]


@pytest.fixture
async def shop(crowd: AsyncEngine) -> AsyncEngine:
    """Five of three items; h-1 holds two mugs and a cap."""
    for sku in ("mug", "cap", "pen"):
        await put_item(crowd, sku, 5)
    await reserve(crowd, request("h-1", ("mug", 2), ("cap", 1), reference="cart"))
    return crowd


async def test_the_difference_moves_and_nothing_else(shop: AsyncEngine) -> None:
    outcome = await amend(shop, change("h-1", ("mug", 5), ("pen", 2)))
    assert isinstance(outcome, Amended)
    assert outcome.lines == (Line("mug", "", 5), Line("pen", "", 2))
    assert [await stock_of(shop, sku) for sku in ("mug", "cap", "pen")] == [(0, 5), (5, 0), (3, 2)]
    hold = await read_hold(shop, SHOP, "h-1")
    assert hold is not None
    assert (hold.lines, hold.reference, hold.revision) == (outcome.lines, "cart", 1)
    await assert_stock_adds_up(shop)


async def test_what_does_not_fit_leaves_the_hold_as_it_is(shop: AsyncEngine) -> None:
    before = await read_hold(shop, SHOP, "h-1")
    outcome = await amend(shop, change("h-1", ("mug", 6), ("pen", 1), ("lamp", 1)))
    assert isinstance(outcome, Shortage)
    assert [(item.sku, item.requested, item.available, item.reason) for item in outcome.items] == [
        ("lamp", 1, 0, "unknown_item"),
        ("mug", 6, 5, "insufficient"),
    ]
    assert await read_hold(shop, SHOP, "h-1") == before
    assert [await stock_of(shop, sku) for sku in ("mug", "pen")] == [(3, 2), (5, 0)]


@pytest.mark.parametrize("buyer", [None, "b-1"])
async def test_held_that_has_drifted_is_psycopgs_error_with_and_without_a_buyer(
    shop: AsyncEngine, buyer: str | None
) -> None:
    assert isinstance(await amend(shop, change("h-1", buyer=buyer, key="b")), Amended)
    await fetch(shop, "UPDATE \"InventoryItem\" SET held = 0 WHERE sku = 'mug'", {})
    with pytest.raises(psycopg.IntegrityError, match="InventoryItem_held_check") as refused:
        await amend(shop, change("h-1", ("mug", 1)))
    assert refused.value.__cause__ is None  # Temporal follows causes to their end


async def test_a_retired_item_can_be_kept_or_given_back_but_not_added_to(shop: AsyncEngine) -> None:
    await fetch(shop, 'UPDATE "InventoryItem" SET "retiredAt" = now() WHERE sku = \'mug\'', {})
    assert isinstance(await amend(shop, change("h-1", ("mug", 2), ("pen", 1))), Amended)
    refused = await amend(shop, change("h-1", ("mug", 3), key="b"))
    assert isinstance(refused, Shortage)
    assert [(item.available, item.reason) for item in refused.items] == [(2, "retired")]
    assert isinstance(await amend(shop, change("h-1", ("mug", 1), key="c")), Amended)
    await assert_stock_adds_up(shop)


async def test_a_repeat_changes_nothing_even_after_the_end(shop: AsyncEngine) -> None:
    first = await amend(shop, change("h-1", ("mug", 3)))
    later = await amend(shop, change("h-1", ("mug", 1), key="b"))
    assert first != later
    assert await amend(shop, change("h-1", ("mug", 3))) == later
    await end(shop, "h-1", HoldStatus.COMMITTED)
    assert await amend(shop, change("h-1", ("mug", 3))) == later
    assert await amend(shop, change("h-1", ("mug", 4))) == KeyReused()
    assert (await fetch(shop, COUNTED, {}))[0]["n"] == 2
    assert await stock_of(shop, "mug") == (4, 0)
    await assert_stock_adds_up(shop)


async def test_only_an_active_hold_can_be_amended(shop: AsyncEngine) -> None:
    assert await amend(shop, change("h-2", ("mug", 1))) == NotActive()
    await end(shop, "h-1", HoldStatus.RELEASED)
    assert await amend(shop, change("h-1", ("mug", 1))) == NotActive()


async def test_the_deadline_moves_forward_only_and_the_reference_stays_unique(shop: AsyncEngine) -> None:
    hold = await read_hold(shop, SHOP, "h-1")
    assert hold is not None
    earlier = await amend(shop, change("h-1", expires_at=datetime.now(UTC), buyer="b-1"))
    assert isinstance(earlier, Amended)
    assert (earlier.expires_at, earlier.lines, earlier.buyer) == (hold.expires_at, hold.lines, "b-1")
    await reserve(shop, request("h-2", ("pen", 1), reference="order"))
    assert await amend(shop, change("h-1", ("mug", 1), key="b", reference="order")) == ReferenceTaken("h-2")
    moved = await amend(shop, change("h-1", key="c", reference="other", expires_at=hold.expires_at + timedelta(1)))
    assert isinstance(moved, Amended)
    assert (moved.reference, moved.expires_at) == ("other", hold.expires_at + timedelta(1))


@pytest.mark.parametrize("to", [HoldStatus.COMMITTED, HoldStatus.RELEASED, HoldStatus.EXPIRED])
async def test_an_end_that_waited_for_an_amendment_ends_the_amended_lines(shop: AsyncEngine, to: HoldStatus) -> None:
    async with holding(shop, "pen"):
        amending = asyncio.create_task(amend(shop, change("h-1", ("mug", 1), ("pen", 3))))
        await until_waiting(shop, 1)
        ending = asyncio.create_task(end(shop, "h-1", to))
        await until_waiting(shop, 2)
    assert isinstance(await amending, Amended)
    settled = await ending
    assert settled is not None
    assert (settled.changed, settled.hold.lines) == (True, (Line("mug", "", 1), Line("pen", "", 3)))
    await assert_stock_adds_up(shop)


async def test_an_amendment_that_waited_for_the_end_changes_nothing(shop: AsyncEngine) -> None:
    async with holding(shop, "mug"):
        ending = asyncio.create_task(end(shop, "h-1", HoldStatus.COMMITTED))
        await until_waiting(shop, 1)
        amending = asyncio.create_task(amend(shop, change("h-1", ("mug", 1), ("pen", 3))))
        await until_waiting(shop, 2)
    assert (await ending) is not None
    assert await amending == NotActive()
    assert [await stock_of(shop, sku) for sku in ("mug", "pen")] == [(3, 0), (5, 0)]


async def test_a_late_payment_takes_the_amended_lines_again(shop: AsyncEngine) -> None:
    await amend(shop, change("h-1", ("pen", 4)))
    await end(shop, "h-1", HoldStatus.RELEASED)
    claim = await claim_late_payment(shop, SHOP, "h-1", session_id=None, intent_id="pi_1", take=True)
    assert claim.outcome == "reacquired"
    assert [await stock_of(shop, sku) for sku in ("mug", "pen")] == [(5, 0), (1, 0)]
    await assert_stock_adds_up(shop)


async def test_opposite_amendments_at_once_neither_wait_for_each_other_nor_lose_units(shop: AsyncEngine) -> None:
    holds = [f"h-{n}" for n in range(2, 6)]
    for hold_id in holds:
        await reserve(shop, request(hold_id, ("pen", 1)))
    forth, back = (("cap", 1), ("mug", 1)), (("mug", 1), ("pen", 1))
    for turn in range(10):
        each = [change(hold_id, *(forth if (n + turn) % 2 else back), key=str(turn)) for n, hold_id in enumerate(holds)]
        outcomes = await asyncio.gather(*(amend(shop, one) for one in [*each, *each]))
        assert {type(outcome) for outcome in outcomes} <= {Amended, Shortage}
    await assert_stock_adds_up(shop)


async def test_the_archive_keeps_the_amendments_of_a_hold(shop: AsyncEngine) -> None:
    await amend(shop, change("h-1", ("pen", 4)))
    await end(shop, "h-1", HoldStatus.RELEASED)
    assert [moved async for moved in archive_holds(shop, before=datetime.now(UTC) + timedelta(1))] == [1]
    [row] = await fetch(shop, 'SELECT hold FROM "InventoryHoldArchive"', {})
    [kept] = row["hold"]["amendments"]
    assert (kept["requestId"], kept["after"]["items"]) == ("a", [["pen", "", 4]])
    assert (await fetch(shop, COUNTED, {}))[0]["n"] == 0
