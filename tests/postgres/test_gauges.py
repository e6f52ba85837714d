"""How many holds are active and overdue, shop by shop."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch
from dev.harness.stock import end, is_new, put_item, request
from domain.holds import HoldStatus
from inventory import gauges as census
from inventory.gauges import active_holds, overdue_holds
from inventory.reserve import reserve

_LATE = """UPDATE "InventoryHold" SET "expiresAt" = now() - %(by)s::interval WHERE id = %(id)s"""


async def made(engine: AsyncEngine, shop: str, count: int) -> None:
    await put_item(engine, "mug", count, shop=shop)
    for number in range(count):
        assert is_new(await reserve(engine, request(f"{shop}-{number}", ("mug", 1), shop=shop)))


async def late(engine: AsyncEngine, hold_id: str, by: str = "2 minutes") -> None:
    await fetch(engine, _LATE, {"by": by, "id": hold_id})


async def test_only_active_holds_count_and_those_a_minute_late_are_overdue(engine: AsyncEngine) -> None:
    await made(engine, "shop-1", 5)
    await late(engine, "shop-1-0")
    await end(engine, "shop-1-0", HoldStatus.COMMITTED)
    await late(engine, "shop-1-1")
    await late(engine, "shop-1-2", "30 seconds")

    assert await active_holds(engine, 10) == {"shop-1": 4, "other": 0}
    assert await overdue_holds(engine, 10) == {"shop-1": 1, "other": 0}


async def test_the_shops_with_the_most_are_named_and_the_rest_is_other(engine: AsyncEngine) -> None:
    for shop, count in (("a", 1), ("b", 3), ("c", 2), ("d", 1)):
        await made(engine, shop, count)
    for hold_id in ("a-0", "b-0", "b-1", "d-0"):
        await late(engine, hold_id)

    assert await active_holds(engine, 2) == {"b": 3, "c": 2, "other": 2}
    assert await overdue_holds(engine, 1) == {"b": 2, "other": 2}


async def test_of_many_overdue_holds_the_oldest_are_counted(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await made(engine, "a", 3)
    await made(engine, "b", 2)
    for hold_id, by in (("a-0", "2 minutes"), ("a-1", "9 minutes"), ("a-2", "3 minutes"), ("b-0", "8 minutes")):
        await late(engine, hold_id, by)
    monkeypatch.setattr(census, "OVERDUE_LIMIT", 2)

    assert await overdue_holds(engine, 10) == {"a": 1, "b": 1, "other": 0}


async def test_without_a_hold_there_is_a_zero(engine: AsyncEngine) -> None:
    assert await active_holds(engine, 10) == await overdue_holds(engine, 10) == {"other": 0}
