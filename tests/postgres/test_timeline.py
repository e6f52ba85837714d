"""An item's timeline: every unit explained, page by page, adding up to what there is."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch
from dev.harness.stock import SHOP, end, put_item, request
from domain.amendments import AmendRequest
from domain.holds import HoldStatus, Line
from inventory.adjustments import Adjustment, adjust_items
from inventory.amend import amend
from inventory.counts import ItemCount, count_items
from inventory.reserve import reserve
from inventory.returns import restock
from inventory.timeline import TimelineEntry, read_timeline


async def pages(engine: AsyncEngine, limit: int) -> list[TimelineEntry]:
    """Return all entries, read page by page, and check that they add up to the item."""
    entries: list[TimelineEntry] = []
    after = None
    while True:
        page = await read_timeline(engine, SHOP, "mug", "", limit=limit, after=after)
        assert page is not None
        assert len(page.entries) == limit or page.next_after is None
        entries += page.entries
        after = page.next_after
        if after is None:
            break
    assert sum(entry.delta for entry in entries) == page.item.on_hand == entries[0].on_hand
    assert sum(entry.held for entry in entries) == page.item.held
    assert [entry.on_hand for entry in entries] == [sum(e.delta for e in entries[n:]) for n in range(len(entries))]
    return entries


async def history(engine: AsyncEngine) -> None:
    """Count, sell, take back, give back, lose, hold."""
    await count_items(engine, SHOP, [ItemCount("mug", "", 10)], actor="ann", reason="stocktaking")
    await reserve(engine, request("sold", ("mug", 3), reference="order-1"))
    await end(engine, "sold", HoldStatus.COMMITTED, payment="pi_1")
    await restock(engine, SHOP, "sold", None, actor="bob", reason="unworn", key="k1")
    await reserve(engine, request("back", ("mug", 2), ("mug", 2)))
    await end(engine, "back", HoldStatus.RELEASED)
    await adjust_items(engine, SHOP, [Adjustment("mug", "", -1, "broken")], actor="cid", key="k2")
    await reserve(engine, request("open", ("mug", 2)))
    await amend(engine, AmendRequest(SHOP, "open", "a", "hash", "dan", (Line("mug", "", 4),)))


async def test_the_timeline_tells_who_why_and_for_which_hold_and_payment(engine: AsyncEngine) -> None:
    await put_item(engine, "cap", 3)
    await history(engine)
    entries = await pages(engine, 100)
    told = [(e.kind, e.delta, e.on_hand, e.quantity, e.held, e.actor, e.reason, e.hold_id) for e in entries]
    assert told == [
        ("amend", 0, 9, 4, 0, "dan", None, "open"),
        ("hold", 0, 9, 4, 4, None, None, "open"),
        ("adjust", -1, 9, 1, 0, "cid", "broken", None),
        ("hold", 0, 10, 4, 0, None, "test", "back"),
        ("restock", 3, 10, 3, 0, "bob", "unworn", "sold"),
        ("commit", -3, 7, 3, 0, "tester", "test", "sold"),
        ("hold", 0, 10, 3, 0, None, "test", "sold"),
        ("count", 10, 10, 10, 0, "ann", "stocktaking", None),
    ]
    assert entries[0].before == 2
    commit = entries[5]
    assert (commit.payment_intent_id, commit.reference, commit.hold_status) == ("pi_1", "order-1", HoldStatus.COMMITTED)
    assert [e.idempotency_key for e in entries if e.idempotency_key] == ["k2", "k1"]
    assert [e.hold_ended_at is None for e in entries] == [True, True, True, False, False, False, False, True]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
async def test_pages_of_any_size_tell_the_same(engine: AsyncEngine, limit: int) -> None:
    await history(engine)
    assert await pages(engine, limit) == await pages(engine, 100)


async def test_what_happens_meanwhile_does_not_move_the_pages(engine: AsyncEngine) -> None:
    await history(engine)
    whole = await pages(engine, 100)
    first = await read_timeline(engine, SHOP, "mug", "", limit=3)
    assert first is not None
    await adjust_items(engine, SHOP, [Adjustment("mug", "", 5, "found")], actor="cid")
    await end(engine, "open", HoldStatus.RELEASED)
    rest = await read_timeline(engine, SHOP, "mug", "", after=first.next_after)
    assert rest is not None
    assert [*first.entries, *rest.entries] == whole


async def test_clocks_that_disagree_do_not_lose_or_repeat_an_entry(engine: AsyncEngine) -> None:
    await history(engine)
    await fetch(
        engine,
        'UPDATE "InventoryHold" SET "createdAt" = "createdAt" + CASE id WHEN %(one)s THEN %(hour)s ELSE -%(hour)s END',
        {"one": "sold", "hour": timedelta(hours=1)},
    )
    for limit in (1, 2, 3, 100):
        entries = await pages(engine, limit)
        assert sorted(entry.hold_id or "" for entry in entries if entry.kind == "hold") == ["back", "open", "sold"]
        assert len(entries) == 8


async def test_an_unknown_item_has_no_timeline_and_a_new_one_an_empty_one(engine: AsyncEngine) -> None:
    assert await read_timeline(engine, SHOP, "mug", "") is None
    await count_items(engine, SHOP, [ItemCount("mug", "", 0)], actor="ann")
    found = await read_timeline(engine, SHOP, "mug", "")
    assert found is not None
    assert (found.entries, found.next_after, found.item.on_hand) == ((), None, 0)


async def test_the_timeline_adds_up_while_others_buy(crowd: AsyncEngine) -> None:
    await count_items(crowd, SHOP, [ItemCount("mug", "", 1000)], actor="ann")

    async def buy(number: int) -> None:
        for turn in range(10):
            await reserve(crowd, request(f"h{number}-{turn}", ("mug", 1)))
            await end(crowd, f"h{number}-{turn}", (HoldStatus.COMMITTED, HoldStatus.RELEASED)[turn % 2])

    async def look() -> None:
        for _ in range(10):
            found = await read_timeline(crowd, SHOP, "mug", "", limit=500)
            assert found is not None
            assert sum(entry.delta for entry in found.entries) == found.item.on_hand
            assert sum(entry.held for entry in found.entries) == found.item.held

    await asyncio.gather(look(), *(buy(number) for number in range(6)))
