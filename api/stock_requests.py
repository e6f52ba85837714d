"""The bodies and queries of requests that correct stock, move stock files, or read a timeline."""

from collections.abc import Sequence
from typing import Annotated, Protocol

from pydantic import Field

from api.errors import invalid
from api.requests import MAX_ITEMS, Cursor, Lines
from core.json_model import Model
from domain.fields import Delta, Reason, ShopId, Sku, VariantKey


class AdjustmentIn(Model):
    """An item, the change of its units on hand, and the reason."""

    sku: Sku
    variant_key: VariantKey = ""
    delta: Delta
    reason: Reason


class AdjustmentsIn(Model):
    """Corrections by a difference, all applied or none."""

    shop_id: ShopId
    adjustments: Annotated[list[AdjustmentIn], Field(min_length=1, max_length=MAX_ITEMS)]


class RestockIn(Model):
    """Units of a committed hold to return to stock, and the reason. Without `items`: all units not returned yet."""

    items: Lines | None = None
    reason: Reason


class ImportQuery(Model):
    """How to import."""

    dry_run: Annotated[bool, Field(description="Report what would change; change nothing.")] = False
    update_only: Annotated[bool, Field(description="Refuse a file that names an item which does not exist.")] = False
    shop_id: Annotated[ShopId | None, Field(description="Refuse a file with a row of another shop.")] = None


class ExportQuery(Model):
    """The shop whose stock to export."""

    shop_id: ShopId


class TimelineQuery(Model):
    """The item whose timeline to read."""

    shop_id: ShopId
    sku: Sku
    variant_key: VariantKey = ""
    limit: Annotated[int, Field(ge=1, le=500)] = 100
    cursor: Cursor | None = None


class _Named(Protocol):
    sku: str
    variant_key: str


def require_named_once(field: str, lines: Sequence[_Named]) -> None:
    """Raise the 422 for the first line whose item an earlier line names."""
    seen: set[tuple[str, str]] = set()
    for index, line in enumerate(lines):
        if (line.sku, line.variant_key) in seen:
            raise invalid(f"{field}[{index}]", "names the same item as an earlier entry")
        seen.add((line.sku, line.variant_key))
