"""Ended holds are archived by age, in batches, without touching the stock or those who are at work."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner

from cli.main import app
from cli.report.records import read_records
from core.database import fetch
from core.settings import Settings
from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import SHOP, end, is_new, put_item, request, stock_of
from domain.holds import HoldStatus, Line
from inventory import archive
from inventory.archive import archive_holds, archived_by_status
from inventory.hold_search import find_holds
from inventory.holds import read_hold
from inventory.reserve import reserve

OLD = timedelta(days=100)
ENDS = (HoldStatus.COMMITTED, HoldStatus.RELEASED, HoldStatus.EXPIRED)
EVER = datetime.min.replace(tzinfo=UTC)
_AGE = """
UPDATE "InventoryHold" SET "createdAt" = "createdAt" - %(by)s, "committedAt" = "committedAt" - %(by)s,
  "releasedAt" = "releasedAt" - %(by)s, "expiredAt" = "expiredAt" - %(by)s, "updatedAt" = "updatedAt" - %(by)s
WHERE id LIKE 'old-%%'
"""


async def archived(engine: AsyncEngine, days: int = 90) -> list[int]:
    before = datetime.now(UTC) - timedelta(days=days)
    return [moved async for moved in archive_holds(engine, before=before)]


@pytest.fixture
async def aged(engine: AsyncEngine) -> AsyncEngine:
    """Nine holds that ended long ago, one that is still active though as old, and one that has just ended."""
    await put_item(engine, "mug", 100)
    for number in range(9):
        assert is_new(await reserve(engine, request(f"old-{number}", ("mug", 2))))
        await end(engine, f"old-{number}", ENDS[number % 3])
    assert is_new(await reserve(engine, request("old-active", ("mug", 1))))
    assert is_new(await reserve(engine, request("new", ("mug", 1))))
    await end(engine, "new", HoldStatus.COMMITTED)
    await fetch(engine, _AGE, {"by": OLD})
    return engine


async def test_what_ended_long_ago_goes_in_batches_and_the_stock_stays(
    aged: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "BATCH", 4)
    before = await stock_of(aged, "mug")

    assert await archived(aged) == [4, 4, 1]

    assert [hold.hold_id for hold in (await find_holds(aged, SHOP)).holds] == ["new", "old-active"]
    assert await stock_of(aged, "mug") == before
    assert await archived_by_status(aged, since=EVER) == dict.fromkeys(ENDS, 3)
    await assert_stock_adds_up(aged)
    assert await archived(aged) == []


async def test_the_archive_has_the_hold_and_its_lines(aged: AsyncEngine) -> None:
    await archived(aged)

    [row] = await fetch(aged, 'SELECT hold, lines FROM "InventoryHoldArchive" WHERE id = %(id)s', {"id": "old-0"})

    assert (row["hold"]["status"], row["hold"]["shopId"]) == ("committed", SHOP)
    assert [(line["sku"], line["quantity"]) for line in row["lines"]] == [("mug", 2)]


async def test_report_and_audit_say_what_is_archived(aged: AsyncEngine, tables: str) -> None:
    await archived(aged)
    window = datetime.now(UTC) - timedelta(days=365)
    settings = Settings.read({"DATABASE_URL": tables})

    records = await asyncio.to_thread(read_records, settings, window, SHOP)

    assert (records.made, records.archived) == (2, 9)
    assert (await asyncio.to_thread(read_records, settings, window, "another")).archived == 0


async def test_a_younger_age_or_another_shop_archives_nothing_else(aged: AsyncEngine) -> None:
    assert await archived(aged, days=101) == []
    before = datetime.now(UTC) - timedelta(days=90)
    assert [n async for n in archive_holds(aged, before=before, shop_id="another")] == []


async def test_two_at_once_archive_each_hold_once_while_others_buy(aged: AsyncEngine) -> None:
    async def buy() -> None:
        for number in range(20):
            assert is_new(await reserve(aged, request(f"buyer-{number}", Line("mug", "", 1))))
            await end(aged, f"buyer-{number}", HoldStatus.COMMITTED)

    first, second, _ = await asyncio.gather(archived(aged), archived(aged), buy())

    assert sum(first) + sum(second) + sum(await archived(aged)) == 9
    assert sum((await archived_by_status(aged, since=EVER)).values()) == 9
    await assert_stock_adds_up(aged)


async def test_an_id_that_was_archived_may_be_used_and_archived_again(aged: AsyncEngine) -> None:
    await archived(aged)
    assert await read_hold(aged, SHOP, "old-0") is None
    assert is_new(await reserve(aged, request("old-0", ("mug", 1))))
    await end(aged, "old-0", HoldStatus.RELEASED)
    await fetch(aged, _AGE, {"by": OLD})

    assert await archived(aged) == [1]
    rows = await fetch(aged, 'SELECT status FROM "InventoryHoldArchive" WHERE id = %(id)s ORDER BY 1', {"id": "old-0"})
    assert [row["status"] for row in rows] == ["committed", "released"]


@pytest.mark.usefixtures("aged")
async def test_the_command_says_how_many_and_refuses_an_age_that_is_none(tables: str) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        ran = CliRunner().invoke(app, ["holds", "archive", *arguments], env={"DATABASE_URL": tables})
        return ran.exit_code, ran.stdout, ran.stderr

    code, _, told = await asyncio.to_thread(run, "--older-than", "6d")
    assert code == 2
    assert "--older-than '6d'" in told
    code, said, _ = await asyncio.to_thread(run, "--older-than", "90d")
    assert code == 0
    assert said.startswith("9 holds that ended before ")
    assert (await asyncio.to_thread(run, "--older-than", "90d", "--json"))[1].startswith('{"archived": 0,')
