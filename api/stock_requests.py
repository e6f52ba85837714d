"""What callers send to correct stock and to ask where it went."""

from collections.abc import Sequence
from typing import Annotated, Protocol

from pydantic import Field

from api.errors import invalid
from api.requests import MAX_ITEMS, Cursor, Lines, Reason, ShopId, Sku, VariantKey
from core.json_model import Model
from inventory.items import MAX_ON_HAND

Delta = Annotated[
    int,
    Field(
        strict=True,
        ge=-MAX_ON_HAND,
        le=MAX_ON_HAND,
        description="How many units more (or fewer, negative) there are than the records say. Not 0.",
        examples=[-2],
    ),
]


class AdjustmentIn(Model):
    """An item, by how much its stock differs, and why."""

    sku: Sku
    variant_key: VariantKey = ""
    delta: Delta
    reason: Reason


class AdjustmentsIn(Model):
    """Corrections by a difference, made all or none."""

    shop_id: ShopId
    adjustments: Annotated[list[AdjustmentIn], Field(min_length=1, max_length=MAX_ITEMS)]


class RestockIn(Model):
    """What comes back of a sold hold, and why. Without `items`: all of it that has not come back yet."""

    items: Lines | None = None
    reason: Reason


class ImportQuery(Model):
    """Whether to import, or to look what would change."""

    dry_run: Annotated[bool, Field(description="Tell what would change, and change nothing.")] = False


class ExportQuery(Model):
    """Whose stock to export."""

    shop_id: ShopId


class TimelineQuery(Model):
    """Whose stock to explain."""

    shop_id: ShopId
    sku: Sku
    variant_key: VariantKey = ""
    limit: Annotated[int, Field(ge=1, le=500)] = 100
    cursor: Cursor | None = None


class _Named(Protocol):
    sku: str
    variant_key: str


def require_named_once(field: str, lines: Sequence[_Named]) -> None:
    """Raise the 422 for the first line that names an item which a line before it has named."""
    seen: set[tuple[str, str]] = set()
    for index, line in enumerate(lines):
        if (line.sku, line.variant_key) in seen:
            raise invalid(f"{field}[{index}]", "names an item that the request has named before")
        seen.add((line.sku, line.variant_key))
