"""Finds holds by what people know of them: pages, newest first, of the table of holds or of its archive."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from psycopg.types.json import Jsonb
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch
from domain.holds import Hold, HoldStatus
from inventory.fragments import HOLD_LINES
from inventory.holds import COLUMNS, RESTOCKED, hold_from_row


@dataclass(frozen=True, slots=True)
class HoldFilter:
    """Which holds are meant; what is None or empty does not matter."""

    statuses: tuple[HoldStatus, ...] = ()
    reference: str | None = None
    buyer: str | None = None
    sku: str | None = None
    variant_key: str | None = None
    """Only with `sku`."""
    payment_intent_id: str | None = None
    checkout_session_id: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    """Created before this time."""
    expires_to: datetime | None = None
    """With a deadline before this time."""
    archived: bool = False
    """The archived holds instead of the others."""


@dataclass(frozen=True, slots=True)
class Page:
    """Holds, newest first, and the position after which the next page begins (None: this was the last)."""

    holds: tuple[Hold, ...]
    next_after: tuple[datetime, str] | None


_OF_ITEM = 'SELECT l."holdId" FROM "InventoryHoldItem" l WHERE l."shopId" = %(shop)s AND l.sku = %(sku)s'

# By field of HoldFilter: the condition on a row of the table, and on one of the archive. A deadline is never before
# the creation, so that the index on the creation bounds a search by the deadline, too.
_CONDITIONS = {
    "reference": ("h.reference = %(reference)s", "h.hold ->> 'reference' = %(reference)s"),
    "buyer": ("h.buyer = %(buyer)s", "h.hold ->> 'buyer' = %(buyer)s"),
    "sku": (f"h.id IN ({_OF_ITEM})", "h.lines @> %(item)s"),
    "variant_key": (
        f'h.id IN ({_OF_ITEM} AND l."variantKey" = %(variant_key)s)',
        "h.lines @> %(item)s",
    ),
    "payment_intent_id": (
        'h."paymentIntentId" = %(payment_intent_id)s',
        "h.hold ->> 'paymentIntentId' = %(payment_intent_id)s",
    ),
    "checkout_session_id": (
        'h."paymentSessionId" = %(checkout_session_id)s',
        "h.hold ->> 'paymentSessionId' = %(checkout_session_id)s",
    ),
    "created_from": ('h."createdAt" >= %(created_from)s',) * 2,
    "created_to": ('h."createdAt" < %(created_to)s',) * 2,
    "expires_to": (
        'h."expiresAt" < %(expires_to)s AND h."createdAt" < %(expires_to)s',
        "(h.hold ->> 'expiresAt')::timestamptz < %(expires_to)s AND h.\"createdAt\" < %(expires_to)s",
    ),
}
_SELECTIVE = {"reference", "buyer", "sku", "variant_key", "payment_intent_id", "checkout_session_id"}
"""Found by indexes of their own. The others are read in the order of creation until the page is full."""

# Without MATERIALIZED the planner would read a shop's holds by their creation until the page is full.
_FOUND = """
WITH found AS {materialized} (
  SELECT h."shopId", h.id, h."createdAt" FROM {table} h WHERE {conditions}
), page AS MATERIALIZED (
  SELECT * FROM found ORDER BY "createdAt" DESC, id DESC LIMIT %(limit)s
)
"""

_LIST = f"""
{{found}}
SELECT {COLUMNS}, {HOLD_LINES}, {RESTOCKED} FROM page JOIN "InventoryHold" h USING ("shopId", id)
ORDER BY h."createdAt" DESC, h.id DESC
"""  # noqa: S608 - constants

_FROM_ARCHIVE = f"""
SELECT {COLUMNS}, a."archivedAt", {RESTOCKED}, (
  SELECT coalesce(json_agg(json_build_array(l.sku, l."variantKey", l.quantity) ORDER BY l.sku, l."variantKey"), '[]')
  FROM jsonb_to_recordset(a.lines) AS l(sku text, "variantKey" text, quantity int)) AS lines
FROM {{source}} CROSS JOIN LATERAL jsonb_populate_record(NULL::"InventoryHold", a.hold) h
{{where}} ORDER BY a."createdAt" DESC, a.id DESC
"""  # noqa: S608 - constants

_LIST_ARCHIVED = "{found}" + _FROM_ARCHIVE.format(
    source='page JOIN "InventoryHoldArchive" a USING ("shopId", id, "createdAt")', where=""
)
_READ_ARCHIVED = (
    _FROM_ARCHIVE.format(source='"InventoryHoldArchive" a', where='WHERE a."shopId" = %(shop)s AND a.id = %(hold)s')
    + " LIMIT 1"
)


async def find_holds(
    engine: AsyncEngine,
    shop_id: str,
    wanted: HoldFilter | None = None,
    *,
    limit: int = 100,
    after: tuple[datetime, str] | None = None,
) -> Page:
    """Return the shop's holds, newest first, beginning after `after`, which is a page's `next_after`.

    Raises DatabaseBusyError and DatabaseUnavailableError.
    """
    statement, parameters = search(shop_id, wanted or HoldFilter(), limit=limit, after=after)
    holds = tuple(hold_from_row(row) for row in await fetch(engine, statement, parameters))
    page = holds[:limit]
    return Page(page, (page[-1].created_at, page[-1].hold_id) if len(holds) > limit else None)


def search(
    shop_id: str, wanted: HoldFilter, *, limit: int, after: tuple[datetime, str] | None
) -> tuple[str, Mapping[str, object]]:
    """Return the statement for a page, and its parameters."""
    given = {name: value for name in _CONDITIONS if (value := getattr(wanted, name)) is not None}
    conditions = ['h."shopId" = %(shop)s', *(_CONDITIONS[name][wanted.archived] for name in given)]
    if wanted.statuses:  # as literals, so that the planner knows how many there are of each
        names = ", ".join(f"'{HoldStatus(status)}'" for status in wanted.statuses)
        conditions.append(f"h.status IN ({names})")
    if after is not None:
        conditions.append('(h."createdAt", h.id) < (%(before_at)s, %(before_id)s)')
    few_are_active = wanted.statuses == (HoldStatus.ACTIVE,) and not wanted.archived
    selective = few_are_active or not _SELECTIVE.isdisjoint(given)
    found = _FOUND.format(
        materialized="MATERIALIZED" if selective else "NOT MATERIALIZED",
        table='"InventoryHoldArchive"' if wanted.archived else '"InventoryHold"',
        conditions=" AND ".join(conditions),
    )
    item = {"sku": wanted.sku} | ({} if wanted.variant_key is None else {"variantKey": wanted.variant_key})
    before_at, before_id = after or (None, None)
    position = {"before_at": before_at, "before_id": before_id, "limit": limit + 1}
    parameters = {"shop": shop_id, "item": Jsonb([item]), **given, **position}
    return (_LIST_ARCHIVED if wanted.archived else _LIST).replace("{found}", found), parameters


async def read_archived_hold(engine: AsyncEngine, shop_id: str, hold_id: str) -> Hold | None:
    """Return the hold from the archive, the last one where several had this id; None where there is none."""
    rows = await fetch(engine, _READ_ARCHIVED, {"shop": shop_id, "hold": hold_id})
    return hold_from_row(rows[0]) if rows else None
