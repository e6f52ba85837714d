"""`holdfast stock`: show and correct stock in the database of the installation. No API need run."""

import json
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.actor import actor
from cli.stock_run import fail, name_of, refuse, require_valid, run
from cli.stock_tables import items_table, report_table, timeline_table
from cli.tables import print_whole
from cli.unknown_shop import unknown_shop
from domain import fields
from holds.stock_json import ItemOut, TimelineOut
from inventory.adjustments import Adjustment, adjust_items
from inventory.counts import KEEP, ItemCount, count_items
from inventory.errors import InvalidFileError
from inventory.items import Item, ItemName, list_items
from inventory.stock_file import convert_stock_file
from inventory.stock_import import export_stock, import_stock
from inventory.timeline import read_timeline

Shop = Annotated[str, typer.Option("--shop", help="The shop.", envvar="HOLDFAST_SHOP")]
Sku = Annotated[str, typer.Argument(help="The item's SKU.")]
Variant = Annotated[
    str,
    typer.Option("--variant", help="The item's variant, for example size:M; omit it for a product without variants."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_PAGE = 500
_TWO_LINES = 100
"""More bytes than the header of a stock file has."""


def show(
    *,
    shop: Shop,
    sku: Annotated[str | None, typer.Argument(help="Only this SKU.")] = None,
    low: Annotated[bool, typer.Option("--low", help="Only items at or below their threshold.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a shop's stock."""
    require_valid(shop=(fields.ShopId, shop), sku=(fields.Sku | None, sku))

    async def read(engine: AsyncEngine) -> list[Item]:
        items: list[Item] = []
        after: ItemName | None = None
        while True:
            page = await list_items(engine, shop, sku=sku, low_stock=low, limit=_PAGE, after=after)
            items += page.items
            after = page.next_after
            if after is None:
                return items

    items = run(read)
    if sku is None and not items:
        _require_known_shop(shop)
    if sku is not None and not items:
        fail(f"the shop {shop} has no item {sku}" + (" that is low on stock" if low else ""))
    _print_items(items, as_json=as_json)


def set_count(
    *,
    shop: Shop,
    sku: Sku,
    on_hand: Annotated[int, typer.Argument(help="Units on hand, including held.")],
    variant: Variant = "",
    reason: Annotated[str | None, typer.Option(help="The reason, for the records.")] = None,
    name: Annotated[str | None, typer.Option(help="The product, in words; '' removes the name.")] = None,
    threshold: Annotated[int | None, typer.Option(help="The item is low on stock at or below this many units.")] = None,
    per_order: Annotated[
        int | None, typer.Option("--max-per-order", help="The most units of it in one hold; 0 for no limit.")
    ] = None,
    per_buyer: Annotated[
        int | None, typer.Option("--max-per-buyer", help="The most units of it for one buyer; 0 for no limit.")
    ] = None,
    retired: Annotated[
        bool | None, typer.Option("--retire/--revive", help="Exclude the item from new holds, or allow them again.")
    ] = None,
    create: Annotated[
        bool, typer.Option("--create", help="Create the item if the shop has none of this name; do not ask.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Set an item by count. Held units do not change. Asks before it creates an item."""
    require_valid(
        **_item(shop, sku, variant),
        on_hand=(fields.OnHand, on_hand),
        name=(fields.ProductName | None, name or None),
        threshold=(fields.OnHand | None, threshold),
        max_per_order=(fields.OnHand | None, per_order),
        max_per_buyer=(fields.OnHand | None, per_buyer),
        reason=(fields.Reason | None, reason),
    )
    if not create:
        _confirm_new_item(shop, sku, variant)
    count = ItemCount(
        sku, variant, on_hand, low_stock_threshold=KEEP if threshold is None else threshold,
        retired=KEEP if retired is None else retired, name=KEEP if name is None else name or None,
        max_per_order=KEEP if per_order is None else per_order or None,
        max_per_buyer=KEEP if per_buyer is None else per_buyer or None,
    )  # fmt: skip
    items = run(lambda engine: count_items(engine, shop, [count], actor=actor(), reason=reason))
    _print_items(items, as_json=as_json)


def adjust(
    *,
    shop: Shop,
    sku: Sku,
    delta: Annotated[int, typer.Argument(help="The change of the units on hand, for example -2.")],
    reason: Annotated[str, typer.Option(help="The reason, for the records.")],
    variant: Variant = "",
    key: Annotated[
        str | None, typer.Option(help="An idempotency key: run again with the same key, nothing changes.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change an item's units on hand by a difference."""
    require_valid(
        **_item(shop, sku, variant),
        delta=(fields.Delta, delta),
        reason=(fields.Reason, reason),
        key=(fields.IdempotencyKey | None, key),
    )
    adjustment = Adjustment(sku, variant, delta, reason)
    items = run(lambda engine: adjust_items(engine, shop, [adjustment], actor=actor(), key=key))
    _print_items(items, as_json=as_json)


def import_file(
    *,
    file: Annotated[Path, typer.Argument(help="A stock file (CSV); - for standard input.")],
    shop: Annotated[
        str | None, typer.Option("--shop", help="Refuse a file with rows of another shop.", envvar="HOLDFAST_SHOP")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would change; change nothing.")] = False,
    update_only: Annotated[
        bool, typer.Option("--update-only", help="Create no item: refuse a file with a new one.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Set the items in a stock file to its counts, all rows or none."""
    require_valid(shop=(fields.ShopId | None, shop or None))
    try:
        source: IO[bytes] = sys.stdin.buffer if str(file) == "-" else file.open("rb")
    except OSError as error:
        fail(f"{file}: {error.strerror}")
    with ExitStack() as files:
        sent, rows, report = (files.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        try:
            with source:
                shutil.copyfileobj(source, sent)  # a pipe cannot be read twice
            converted = convert_stock_file(sent, rows, shop_id=shop or None)
        except OSError as error:
            fail(f"{file}: {error.strerror}")
        except InvalidFileError as error:
            refuse(error)
        run(lambda engine: import_stock(engine, rows, report, actor=actor(), dry_run=dry_run, update_only=update_only))
        report.seek(0)
        if as_json:
            for line in filter(None, (*report, converted.last_line())):
                print(line.decode().rstrip() if line.isascii() else json.dumps(json.loads(line)))
        else:
            print_whole(report_table(map(json.loads, report), converted.notes, dry_run=dry_run))


def export_file(
    *,
    shop: Shop,
    file: Annotated[Path | None, typer.Argument(help="The file to write; without it, standard output.")] = None,
) -> None:
    """Write a shop's stock as a stock file, which `import` reads."""
    require_valid(shop=(fields.ShopId, shop))
    with tempfile.TemporaryFile() as out:
        run(lambda engine: export_stock(engine, shop, out))
        out.seek(0)
        if len(out.readlines(_TWO_LINES)) < 2:  # noqa: PLR2004 - the header and an item
            _require_known_shop(shop)
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
    limit: Annotated[int, typer.Option(help="How many entries, the newest first.", min=1, max=500)] = 100,
    as_json: AsJson = False,
) -> None:
    """Show an item's timeline: its movements and holds, newest first."""
    require_valid(**_item(shop, sku, variant))
    found = run(lambda engine: read_timeline(engine, shop, sku, variant, limit=limit))
    if found is None:
        fail(f"the shop {shop} has no item {name_of(sku, variant)}")
    if as_json:
        print(TimelineOut.of(found).model_dump_json(ensure_ascii=True))
    else:
        print_whole(timeline_table(found))


def _confirm_new_item(shop: str, sku: str, variant: str) -> None:
    """Ask before a new item is created, which may be a typing error. Without a terminal, end the command."""
    if run(lambda engine: read_timeline(engine, shop, sku, variant, limit=1)) is not None:
        return
    others = run(lambda engine: list_items(engine, shop, sku=sku, limit=5)).items
    has = f", only {', '.join(name_of(item.sku, item.variant_key) for item in others)}" if others else ""
    new = f"the shop {shop} has no item {name_of(sku, variant)}{has}"
    if not sys.stdin.isatty():
        fail(f"{new}; --create makes it")
    if not typer.confirm(f"{new[0].upper()}{new[1:]}. Create it?", err=True):
        raise typer.Exit(1)


def _require_known_shop(shop: str) -> None:
    """End the command if the shop has neither items nor holds."""
    if (message := run(lambda engine: unknown_shop(engine, shop, "items"))) is not None:
        fail(message)


def _item(shop: str, sku: str, variant: str) -> dict[str, tuple[Any, object]]:
    return {"shop": (fields.ShopId, shop), "sku": (fields.Sku, sku), "variant": (fields.VariantKey, variant)}


def _print_items(items: list[Item], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"items": [ItemOut.of(item).model_dump(mode="json") for item in items]}))
    else:
        print_whole(items_table(items))
