"""Stock files in and out: all rows or none, beside checkouts that go on, and back unchanged."""

import asyncio
import io
import itertools
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import DatabaseBusyError, fetch, fetch_on
from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import SHOP, end, is_new, put_item, request, stock_of, until_waiting
from domain.holds import HoldStatus, Shortage
from inventory.counts import ItemCount, count_items
from inventory.errors import BelowHeld, CountBelowHeldError, InvalidFileError
from inventory.items import list_items
from inventory.reserve import reserve
from inventory.stock_file import COLUMNS, convert_stock_file
from inventory.stock_import import export_stock, import_stock
from tests.examples import examples

HEADER = ",".join(COLUMNS)


async def imported(engine: AsyncEngine, *lines: str, dry_run: bool = False) -> list[dict[str, Any]]:
    """Import the lines and return the report."""
    return await imported_bytes(engine, "\n".join([HEADER, *lines]).encode(), dry_run=dry_run)


async def imported_bytes(engine: AsyncEngine, content: bytes, *, dry_run: bool = False) -> list[dict[str, Any]]:
    rows, report = io.BytesIO(), io.BytesIO()
    convert_stock_file(io.BytesIO(content), rows)
    await import_stock(engine, rows, report, actor="ann", dry_run=dry_run)
    return [json.loads(line) for line in report.getvalue().splitlines()]


async def exported(engine: AsyncEngine, shop: str = SHOP) -> str:
    out = io.BytesIO()
    await export_stock(engine, shop, out)
    return out.getvalue().decode()


async def everything(engine: AsyncEngine) -> list[tuple[object, ...]]:
    """Return all items and movements, times and all."""
    found: list[tuple[object, ...]] = []
    for table in ("InventoryItem", "InventoryMovement"):
        rows = await fetch(engine, f'SELECT to_jsonb(t)::text AS row FROM "{table}" t ORDER BY 1', {})
        found += [tuple(row.values()) for row in rows]
    return found


async def test_a_file_makes_changes_and_leaves_and_tells_of_each_row(engine: AsyncEngine) -> None:
    counts = [ItemCount("mug", "", 5, "m", {"c": "red"}, 2), ItemCount("cap", "", 5), ItemCount("pen", "", 1)]
    await count_items(engine, SHOP, counts, actor="bob")
    await reserve(engine, request("h1", ("mug", 2)))
    report = await imported(engine, "shop-1,new,x,p,7,1", "shop-1,mug,,,9,", "shop-1,cap,,,5,", "shop-2,mug,,,3,")
    assert [(row["line"], row["shopId"], row["sku"], row["variantKey"], row["result"]) for row in report] == [
        (2, SHOP, "new", "x", "created"),
        (3, SHOP, "mug", "", "changed"),
        (4, SHOP, "cap", "", "unchanged"),
        (5, "shop-2", "mug", "", "created"),
    ]
    assert report[1]["before"] == {"onHand": 5, "productId": "m", "lowStockThreshold": 2}
    assert report[1]["after"] == {"onHand": 9, "productId": None, "lowStockThreshold": None}
    assert (report[1]["quantity"], report[1]["held"], report[0]["before"]) == (7, 2, None)
    items = {item.sku: item for item in (await list_items(engine, SHOP)).items}
    assert (items["mug"].quantity, items["mug"].held, items["mug"].variant_attributes) == (7, 2, {"c": "red"})
    assert items["pen"].quantity == 1
    ledger = await fetch(engine, "SELECT * FROM \"InventoryMovement\" WHERE actor = 'ann'", {})
    assert {(row["sku"], row["kind"], row["delta"], row["reason"]) for row in ledger} == {
        ("new", "count", 7, "import"), ("mug", "count", 4, "import"), ("mug", "count", 3, "import")
    }  # fmt: skip
    await assert_stock_adds_up(engine)


async def test_a_dry_run_tells_the_same_and_changes_nothing(engine: AsyncEngine) -> None:
    await put_item(engine, "mug", 5)
    await put_item(engine, "cap", 5)
    await reserve(engine, request("h1", ("mug", 2)))
    before = await everything(engine)
    lines = ("shop-1,mug,,m,9,", "shop-1,cap,,,5,", "shop-1,new,,,0,3")
    would = await imported(engine, *lines, dry_run=True)
    assert await everything(engine) == before
    assert await imported(engine, *lines) == would
    assert [row["result"] for row in would] == ["changed", "unchanged", "created"]
    assert {row["result"] for row in await imported(engine, *lines)} == {"unchanged"}


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_count_below_what_is_held_refuses_the_file_by_line_and_holds(
    engine: AsyncEngine, *, dry_run: bool
) -> None:
    await put_item(engine, "mug", 5)
    await put_item(engine, "mug", 5, shop="shop-2")
    await reserve(engine, request("h1", ("mug", 2)))
    await reserve(engine, request("h2", ("mug", 3), shop="shop-2"))
    before = await everything(engine)
    with pytest.raises(CountBelowHeldError) as refused:
        await imported(engine, "shop-1,a,,,1,", "shop-2,mug,,,2,", "shop-1,mug,,,0,", dry_run=dry_run)
    assert refused.value.items == (
        BelowHeld("mug", "", 2, 3, ("h2",), line=3, shop_id="shop-2"),
        BelowHeld("mug", "", 0, 2, ("h1",), line=4, shop_id="shop-1"),
    )
    assert await everything(engine) == before


async def test_an_item_on_two_lines_refuses_the_file(engine: AsyncEngine) -> None:
    with pytest.raises(InvalidFileError) as refused:
        await imported(engine, "s,a,,,1,", "s,b,,,1,", "s,a,x,,1,", "t,a,,,1,", "s,a,,,2,", "s,b,,,1,", "s,a,,,1,")
    assert [(problem.line, problem.column) for problem in refused.value.problems] == [
        (6, "sku"),
        (7, "sku"),
        (8, "sku"),
    ]
    earlier = [problem.message.rpartition("line ")[2] for problem in refused.value.problems]
    assert earlier == ["2", "3", "2"]
    assert await everything(engine) == []


async def test_a_file_without_rows_is_no_change(engine: AsyncEngine) -> None:
    assert await imported(engine) == []


async def test_checkouts_beside_imports_lose_nothing_and_oversell_nothing(crowd: AsyncEngine) -> None:
    skus = [f"s{n}" for n in range(20)]
    for sku in skus:
        await put_item(crowd, sku, 5)
    refusals = 0

    async def shop(number: int) -> None:
        for turn in range(15):
            hold_id = f"h{number}-{turn}"
            lines = [(skus[(number + turn * each) % len(skus)], 1) for each in (1, 3)]
            outcome = await reserve(crowd, request(hold_id, *lines))
            assert is_new(outcome) or isinstance(outcome, Shortage)
            if is_new(outcome) and turn % 3:
                await end(crowd, hold_id, HoldStatus.COMMITTED if turn % 2 else HoldStatus.RELEASED)

    async def count(turns: int) -> None:
        nonlocal refusals
        for turn in range(turns):
            lines = [f"shop-1,{sku},,p{turn},{5 + turn % 3},{turn}" for sku in skus] + [f"shop-1,n{turn},,,1,"]
            try:
                report = await imported(crowd, *lines[:: (-1) ** turn])
                assert len(report) == 21
            except CountBelowHeldError:
                refusals += 1

    await asyncio.gather(count(12), *(shop(number) for number in range(8)))
    await assert_stock_adds_up(crowd)
    assert refusals < 12


async def test_imports_and_counts_that_make_the_same_new_items_at_once_make_them_once(crowd: AsyncEngine) -> None:
    for turn in range(5):
        skus = [f"s{turn}-{n}" for n in range(20)]

        async def bring(skus: list[str] = skus) -> int:
            while True:
                with suppress(DatabaseBusyError):  # the other import is under way
                    return len(await imported(crowd, *(f"shop-1,{sku},,,3," for sku in skus)))

        counts = [ItemCount(sku, "", 3) for sku in skus]
        found = await asyncio.gather(
            bring(),
            count_items(crowd, SHOP, counts[::-1], actor="bob"),
            bring(),
            count_items(crowd, SHOP, counts, actor="c"),
        )
        assert (found[0], found[2]) == (20, 20)
    await assert_stock_adds_up(crowd)


async def test_while_one_import_runs_another_is_busy(hurried: AsyncEngine) -> None:
    await put_item(hurried, "mug", 5)
    async with hurried.connect() as gate:
        await gate.execution_options(isolation_level="READ COMMITTED")
        await fetch_on(gate, 'SELECT FROM "InventoryItem" FOR UPDATE', {})
        first = asyncio.create_task(imported(hurried, "shop-1,mug,,,9,"))
        await until_waiting(hurried, 1)
        with pytest.raises(DatabaseBusyError):
            await imported(hurried, "shop-1,cap,,,9,")
        with pytest.raises(DatabaseBusyError):
            await first
    assert await stock_of(hurried, "mug") == (5, 0)
    assert len(await imported(hurried, "shop-1,mug,,,9,")) == 1


async def test_an_import_whose_connection_dies_is_begun_again_and_made_once(crowd: AsyncEngine) -> None:
    await put_item(crowd, "mug", 5)
    async with crowd.connect() as gate:
        await gate.execution_options(isolation_level="READ COMMITTED")
        await fetch_on(gate, 'SELECT FROM "InventoryItem" FOR UPDATE', {})
        work = asyncio.create_task(imported(crowd, "shop-1,mug,,,9,", "shop-1,new,,,1,"))
        await until_waiting(crowd, 1)
        await fetch(crowd, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'", {})
        await until_waiting(crowd, 1)
        await gate.rollback()
    assert [row["result"] for row in await work] == ["changed", "created"]
    assert len(await fetch(crowd, "SELECT FROM \"InventoryMovement\" WHERE actor = 'ann'", {})) == 2
    await assert_stock_adds_up(crowd)


async def test_an_item_that_the_file_does_not_change_is_not_locked(hurried: AsyncEngine) -> None:
    await put_item(hurried, "mug", 5)
    await put_item(hurried, "cap", 5)
    async with hurried.connect() as gate:
        await gate.execution_options(isolation_level="READ COMMITTED")
        await fetch_on(gate, "SELECT FROM \"InventoryItem\" WHERE sku = 'mug' FOR UPDATE", {})
        report = await imported(hurried, "shop-1,mug,,,5,", "shop-1,cap,,,6,")
    assert [row["result"] for row in report] == ["unchanged", "changed"]


texts = st.text(st.characters(codec="utf-8").filter(str.isprintable), min_size=1, max_size=20)
formulas = st.sampled_from(
    [
        *("=1+1", "+1", "-1", "@SUM(A1)", "'=1", "''=1", "'", "''", "'a", '"', ",", "\\", "\\.", "\\N"),
        *("x;=1", ";; '@1", "\uff1d1", "1E+12", "'1,5e-10", "00", "0"),
    ]
)
names = (texts | formulas | st.tuples(formulas, texts).map("".join)).map(str.strip).filter(bool)
wares = st.dictionaries(
    st.tuples(names, st.just("") | names),
    st.tuples(st.integers(0, 9), st.none() | names, st.none() | st.integers(0, 9), st.booleans()),
    max_size=8,
)
shop_numbers = itertools.count()


@settings(
    max_examples=examples(20),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(wares)
async def test_what_is_exported_imports_back_unchanged(engine: AsyncEngine, wares: dict[Any, Any]) -> None:
    shop = f"export-{next(shop_numbers)}"
    counts = [
        ItemCount(sku, variant, on_hand, product, {"a": "b"}, threshold, retired)
        for (sku, variant), (on_hand, product, threshold, retired) in wares.items()
    ]
    if counts:
        await count_items(engine, shop, counts, actor="ann")
    before = await everything(engine)
    file = await exported(engine, shop)
    assert file.count("\n") == len(wares) + 1
    report = await imported_bytes(engine, file.encode())
    assert [(row["sku"], row["variantKey"], row["result"]) for row in report] == [
        (sku, variant, "unchanged") for sku, variant in sorted(wares)
    ]
    assert await everything(engine) == before
    moved = file.replace(shop, f"{shop}-copy")
    await imported_bytes(engine, moved.encode())
    assert await exported(engine, f"{shop}-copy") == moved


async def test_no_cell_of_an_export_begins_as_a_formula_does(engine: AsyncEngine) -> None:
    await count_items(engine, SHOP, [ItemCount("=cmd|' /C calc'!A0", "-x", 1, "@p"), ItemCount("+1", "", 2)], actor="a")
    assert (await exported(engine)).splitlines()[1:] == [
        'shop-1,\'+1,"",,2,,,,',
        "shop-1,'=cmd|' /C calc'!A0,'-x,'@p,1,,,,",
    ]


async def test_the_limits_of_items_come_from_their_columns_and_stay_without_them(engine: AsyncEngine) -> None:
    limits = 'SELECT sku, "maxPerOrder" AS o, "maxPerBuyer" AS b FROM "InventoryItem" ORDER BY sku'

    async def imported(header: str, *lines: str) -> list[str]:
        rows, report = io.BytesIO(), io.BytesIO()
        convert_stock_file(io.BytesIO("\n".join([header, *lines]).encode()), rows)
        await import_stock(engine, rows, report, actor="staff")
        return [json.loads(line)["result"] for line in report.getvalue().splitlines()]

    both = f"{HEADER},maxPerOrder,maxPerBuyer"
    assert await imported(both, "s,mug,,,5,,2,3", "s,pen,,,5,,,") == ["created", "created"]
    assert await imported(both, "s,mug,,,5,,2,3", "s,pen,,,5,,,9") == ["unchanged", "changed"]
    assert await imported(HEADER, "s,mug,,,6,", "s,cap,,,1,") == ["changed", "created"]
    assert await imported(f"{HEADER},maxPerBuyer", "s,mug,,,6,,") == ["changed"]
    rows = [(row["sku"], row["o"], row["b"]) for row in await fetch(engine, limits, {})]
    assert rows == [("cap", None, None), ("mug", 2, None), ("pen", None, 9)]
    with pytest.raises(InvalidFileError):
        await imported(both, "s,mug,,,5,,0,")
