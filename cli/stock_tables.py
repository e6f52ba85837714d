"""Stock as people read it on a terminal."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from cli.tables import whole_table
from inventory.items import Item
from inventory.timeline import Timeline, TimelineEntry

_MOST_ROWS = 50


def items_table(items: Iterable[Item]) -> Table:
    """Return the items with what can be sold, what is held, and what is low or retired."""
    numbers = ("available", "held", "on hand", "low at")
    items = list(items)
    named = ("name",) if any(item.name for item in items) else ()
    table = whole_table(("item", *named, *numbers, ""), texts=named, numbers=numbers)
    for item in items:
        low = item.low_stock_threshold is not None and item.quantity <= item.low_stock_threshold
        state = "retired" if item.retired_at is not None else "low" if low else ""
        threshold = "" if item.low_stock_threshold is None else str(item.low_stock_threshold)
        figures = (str(item.quantity), str(item.held), str(item.on_hand), threshold)
        names = [_text(item.name or "") for _ in named]
        table.add_row(_text(f"{item.sku} {item.variant_key}"), *names, *figures, state)
    return table


def timeline_table(timeline: Timeline) -> Group:
    """Return the timeline, newest first, under the item's figures of today."""
    item = timeline.item
    headings = ("when (UTC)", "what", "units", "on hand", "who", "why", "hold", "payment")
    table = whole_table(headings, texts=("why",), numbers=("units", "on hand"))
    name = f"{item.shop_id} {item.sku} {item.variant_key}".strip() + (f" ({item.name})" if item.name else "")
    today = f"{name}: {item.on_hand} on hand, {item.held} held, {item.quantity} can be sold"
    for entry in timeline.entries:
        what = f"hold, {entry.hold_status}" if entry.kind == "hold" else entry.kind
        table.add_row(
            f"{entry.at:%Y-%m-%d %H:%M:%S}",
            what,
            _units(entry),
            str(entry.on_hand),
            *(_text(text or "") for text in (entry.actor, entry.reason, entry.hold_id)),
            _text(entry.payment_intent_id or entry.checkout_session_id or ""),
        )
    more = "" if timeline.next_after is None else "There is more: --limit"
    return Group(_text(today), table, *([_text(more)] if more else []))


def _units(entry: TimelineEntry) -> str:
    if entry.kind == "amend":
        return f"{entry.before} → {entry.quantity}"
    return str(entry.quantity) if entry.kind == "hold" else f"{entry.delta:+}"


def report_table(rows: Iterable[Mapping[str, Any]], notes: Iterable[str], *, dry_run: bool) -> Group:
    """Return the first rows that change, how many there are of each kind, and the notes of the file."""
    table = whole_table(("line", "item", "", "on hand", "held", "nearest existing item"))
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row["result"]] += 1
        if row["result"] == "unchanged" or table.row_count == _MOST_ROWS:
            continue
        was = "" if row["before"] is None else f"{row['before']['onHand']} → "
        name = f"{row['shopId']} {row['sku']} {row['variantKey']}"
        nearest = "" if row["nearest"] is None else f"{row['nearest']['sku']} {row['nearest']['variantKey']}"
        figures = (f"{was}{row['after']['onHand']}", str(row["held"]))
        table.add_row(str(row["line"]), _text(name), row["result"], *figures, _text(nearest))
    told = ", ".join(f"{counts[result]:,} {result}" for result in ("created", "changed", "unchanged"))
    more = counts["created"] + counts["changed"] - table.row_count
    told += f" ({more:,} of them not shown; --json has all)" if more else ""
    title = "What would change; nothing was changed:" if dry_run else "What was changed:"
    if counts["created"] and dry_run:
        told += f"\n{counts['created']:,} would be NEW items; --update-only refuses them."
    return Group(title, table, told, *map(_text, notes))


def _text(text: str) -> Text:
    """Return a text as it is: a name in brackets is no markup."""
    return Text(text.strip())
