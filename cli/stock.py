"""`holdfast stock`: look at stock and correct it, on the database at DATABASE_URL, with or without a running API."""

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import IO, Annotated

import typer
from rich.console import Console, RenderableType
from sqlalchemy.ext.asyncio import AsyncEngine

from api.requests import ItemsIn, ItemsQuery
from api.responses import ItemOut
from api.stock_requests import AdjustmentsIn, ExportQuery, TimelineQuery
from api.timeline import TimelineOut
from cli.actor import actor
from cli.stock_run import checked, fail, name_of, refuse, run
from cli.stock_tables import items_table, report_table, timeline_table
from inventory.adjustments import Adjustment, adjust_items
from inventory.counts import KEEP, ItemCount, count_items
from inventory.errors import InvalidFileError
from inventory.items import Item, ItemName, list_items
from inventory.stock_file import convert_stock_file
from inventory.stock_import import export_stock, import_stock
from inventory.timeline import read_timeline

Shop = Annotated[str, typer.Option("--shop", help="The shop.", envvar="HOLDFAST_SHOP")]
Sku = Annotated[str, typer.Argument(help="The item's SKU.")]
Variant = Annotated[str, typer.Option("--variant", help="Its variant, as size:M; none for a plain product.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, for scripts.")]
_PAGE = 500


def show(
    *,
    shop: Shop,
    sku: Annotated[str | None, typer.Argument(help="Only this SKU.")] = None,
    low: Annotated[bool, typer.Option("--low", help="Only what is at or below its threshold.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a shop's stock."""
    query = checked(ItemsQuery, shopId=shop, lowStock=low, **({} if sku is None else {"sku": sku}))

    async def read(engine: AsyncEngine) -> list[Item]:
        items: list[Item] = []
        after: ItemName | None = None
        while True:
            page = await list_items(
                engine, query.shop_id, sku=query.sku, low_stock=query.low_stock, limit=_PAGE, after=after
            )
            items += page.items
            after = page.next_after
            if after is None:
                return items

    _tell_items(run(read), as_json=as_json)


def set_count(
    *,
    shop: Shop,
    sku: Sku,
    on_hand: Annotated[int, typer.Argument(help="How many there are in the house, held ones included.")],
    variant: Variant = "",
    reason: Annotated[str | None, typer.Option(help="Why, for the records.")] = None,
    threshold: Annotated[int | None, typer.Option(help="At or below it, the item is low on stock.")] = None,
    retired: Annotated[
        bool | None, typer.Option("--retire/--revive", help="Keep it from new holds, or let them have it again.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say how many of an item there are. What holds have is not touched; a new item is made."""
    named = {"lowStockThreshold": threshold, "retired": retired}
    item = {"sku": sku, "variantKey": variant, "onHand": on_hand} | {
        name: value for name, value in named.items() if value is not None
    }
    body = checked(ItemsIn, shopId=shop, items=[item], reason=reason)
    count = ItemCount(
        sku, variant, on_hand, low_stock_threshold=KEEP if threshold is None else threshold,
        retired=KEEP if retired is None else retired,
    )  # fmt: skip
    items = run(lambda engine: count_items(engine, shop, [count], actor=actor(), reason=body.reason))
    _tell_items(items, as_json=as_json)


def adjust(
    *,
    shop: Shop,
    sku: Sku,
    delta: Annotated[int, typer.Argument(help="How many more there are than recorded, or fewer: -2.")],
    reason: Annotated[str, typer.Option(help="Why, for the records.")],
    variant: Variant = "",
    key: Annotated[str | None, typer.Option(help="An idempotency key: repeated with it, nothing changes.")] = None,
    as_json: AsJson = False,
) -> None:
    """Correct an item by a difference."""
    change = {"sku": sku, "variantKey": variant, "delta": delta, "reason": reason}
    checked(AdjustmentsIn, shopId=shop, adjustments=[change])
    if delta == 0:
        fail("delta: must not be 0")
    if key is not None and not (0 < len(key) <= 255 and key.isprintable()):  # noqa: PLR2004 - as the API
        fail("key: must be 1 to 255 printable characters")
    adjustment = Adjustment(sku, variant, delta, reason)
    items = run(lambda engine: adjust_items(engine, shop, [adjustment], actor=actor(), key=key))
    _tell_items(items, as_json=as_json)


def import_file(
    *,
    file: Annotated[Path, typer.Argument(help="A stock file (CSV); - for standard input.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would change, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set the items that a stock file names to its counts, all rows or none."""
    try:
        source: IO[bytes] = sys.stdin.buffer if str(file) == "-" else file.open("rb")
    except OSError as error:
        fail(f"{file}: {error.strerror}")
    with tempfile.TemporaryFile() as rows, tempfile.TemporaryFile() as report:
        try:
            with source:
                convert_stock_file(source, rows)
        except OSError as error:
            fail(f"{file}: {error.strerror}")
        except InvalidFileError as error:
            refuse(error)
        run(lambda engine: import_stock(engine, rows, report, actor=actor(), dry_run=dry_run))
        report.seek(0)
        if as_json:
            for line in report:
                sys.stdout.write(line.decode())
        else:
            _print(report_table(map(json.loads, report), dry_run=dry_run))


def export_file(
    *,
    shop: Shop,
    file: Annotated[Path | None, typer.Argument(help="Where to; standard output without it.")] = None,
) -> None:
    """Write a shop's stock as a stock file, which `import` takes back."""
    checked(ExportQuery, shopId=shop)
    with tempfile.TemporaryFile() as out:
        run(lambda engine: export_stock(engine, shop, out))
        out.seek(0)
        if file is None:
            shutil.copyfileobj(out, sys.stdout.buffer)
            sys.stdout.flush()
            return
        try:
            with file.open("wb") as target:
                shutil.copyfileobj(out, target)
        except OSError as error:
            fail(f"{file}: {error.strerror}")


def timeline(
    *,
    shop: Shop,
    sku: Sku,
    variant: Variant = "",
    limit: Annotated[int, typer.Option(help="So many of the newest entries.", min=1, max=500)] = 100,
    as_json: AsJson = False,
) -> None:
    """Tell where an item's units went: its movements and holds, newest first."""
    checked(TimelineQuery, shopId=shop, sku=sku, variantKey=variant, limit=limit)
    found = run(lambda engine: read_timeline(engine, shop, sku, variant, limit=limit))
    if found is None:
        fail(f"the shop {shop} has no item {name_of(sku, variant)}")
    told = TimelineOut.of(found)
    if as_json:
        print(told.model_dump_json(by_alias=True))
    else:
        _print(timeline_table(found))


def _tell_items(items: list[Item], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"items": [ItemOut.of(item).model_dump(mode="json", by_alias=True) for item in items]}))
    else:
        _print(items_table(items))


def _print(told: RenderableType) -> None:
    Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160).print(told)
