"""How many holds are active and overdue, shop by shop."""

from sqlalchemy.ext.asyncio import AsyncEngine

from inventory.census import ActiveHolds, active_holds
from inventory.engine import fetch
from inventory.holds import HoldStatus
from inventory.reserve import Reserved, reserve
from tests.stock import end, put_item, request

_LATE = """UPDATE "InventoryHold" SET "expiresAt" = now() - %(by)s::interval WHERE id = %(id)s"""


async def made(engine: AsyncEngine, shop: str, count: int) -> None:
    await put_item(engine, "mug", count, shop=shop)
    for number in range(count):
        assert await reserve(engine, request(f"{shop}-{number}", ("mug", 1), shop=shop)) == Reserved()


async def test_only_active_holds_count_and_those_a_minute_late_are_overdue(engine: AsyncEngine) -> None:
    await made(engine, "shop-1", 4)
    await end(engine, "shop-1-0", HoldStatus.COMMITTED)
    await fetch(engine, _LATE, {"by": "2 minutes", "id": "shop-1-1"})
    await fetch(engine, _LATE, {"by": "30 seconds", "id": "shop-1-2"})

    assert await active_holds(engine, 10) == {"shop-1": ActiveHolds(3, 1), "other": ActiveHolds(0, 0)}


async def test_the_shops_with_the_most_are_named_and_the_rest_is_other(engine: AsyncEngine) -> None:
    for shop, count in (("a", 1), ("b", 3), ("c", 2), ("d", 1)):
        await made(engine, shop, count)

    assert await active_holds(engine, 2) == {
        "b": ActiveHolds(3, 0),
        "c": ActiveHolds(2, 0),
        "other": ActiveHolds(2, 0),
    }


async def test_without_a_hold_there_is_a_zero(engine: AsyncEngine) -> None:
    assert await active_holds(engine, 10) == {"other": ActiveHolds(0, 0)}
