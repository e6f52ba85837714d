"""Statements that read holds and move a deadline."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import Row, fetch
from domain.holds import Hold, HoldStatus, Line
from inventory.fragments import HOLD_LINES


@dataclass(frozen=True, slots=True)
class Page:
    """Holds, newest first, and the position after which the next page begins (None: this was the last)."""

    holds: tuple[Hold, ...]
    next_after: tuple[datetime, str] | None


# Of a hold's row `h`; with HOLD_LINES, what `hold_from_row` reads.
COLUMNS = """
  h.id, h."shopId", h.status, h."expiresAt", h."createdAt", h."updatedAt", h."committedAt", h."releasedAt",
  h."expiredAt", h.reason, h.reference, h."paymentSessionId", h."paymentIntentId", h."requestHash",
  h."browserExtensions", h.buyer, h.revision
"""

_READ = f'SELECT {COLUMNS}, {HOLD_LINES} FROM "InventoryHold" h WHERE h."shopId" = %(shop)s AND h.id = %(hold)s'  # noqa: S608 - constants

_LIST = f"""
SELECT {COLUMNS}, {HOLD_LINES} FROM "InventoryHold" h
WHERE h."shopId" = %(shop)s AND (%(status)s::text IS NULL OR h.status = %(status)s)
  AND (%(before_at)s::timestamptz IS NULL OR (h."createdAt", h.id) < (%(before_at)s, %(before_id)s))
ORDER BY h."createdAt" DESC, h.id DESC LIMIT %(limit)s
"""  # noqa: S608 - constants

_MOVE_DEADLINE = """
UPDATE "InventoryHold"
SET "expiresAt" = CASE WHEN "expiresAt" = %(back_from)s::timestamptz THEN %(expires)s
                       ELSE greatest("expiresAt", %(expires)s) END,
    "updatedAt" = now()
WHERE "shopId" = %(shop)s AND id = %(hold)s AND status = 'active'
RETURNING id
"""


def hold_from_row(row: Row) -> Hold:
    """Build a Hold from a row that has COLUMNS and HOLD_LINES."""
    return Hold(
        hold_id=row["id"],
        shop_id=row["shopId"],
        status=HoldStatus(row["status"]),
        expires_at=row["expiresAt"],
        created_at=row["createdAt"],
        updated_at=row["updatedAt"],
        committed_at=row["committedAt"],
        released_at=row["releasedAt"],
        expired_at=row["expiredAt"],
        reason=row["reason"],
        reference=row["reference"],
        payment_session_id=row["paymentSessionId"],
        payment_intent_id=row["paymentIntentId"],
        request_hash=row["requestHash"],
        lines=tuple(Line(sku, variant_key, quantity) for sku, variant_key, quantity in row["lines"]),
        browser_extensions=row["browserExtensions"],
        buyer=row["buyer"],
        revision=row["revision"],
    )


async def read_hold(engine: AsyncEngine, shop_id: str, hold_id: str) -> Hold | None:
    """Return the hold with its lines, or None where there is none."""
    rows = await fetch(engine, _READ, {"shop": shop_id, "hold": hold_id})
    return hold_from_row(rows[0]) if rows else None


async def list_holds(
    engine: AsyncEngine,
    shop_id: str,
    *,
    status: HoldStatus | None = None,
    limit: int = 100,
    after: tuple[datetime, str] | None = None,
) -> Page:
    """Return the shop's holds, newest first, beginning after `after`, which is a page's `next_after`."""
    before_at, before_id = after or (None, None)
    parameters = {"shop": shop_id, "status": status, "before_at": before_at, "before_id": before_id, "limit": limit + 1}
    holds = tuple(hold_from_row(row) for row in await fetch(engine, _LIST, parameters))
    page = holds[:limit]
    return Page(page, (page[-1].created_at, page[-1].hold_id) if len(holds) > limit else None)


async def move_deadline(
    engine: AsyncEngine, shop_id: str, hold_id: str, expires_at: datetime, *, back_from: datetime | None = None
) -> bool:
    """Move the deadline of an active hold, and back only from `back_from`: a frozen worker's statement may arrive late.

    Returns False if the hold has ended; nothing was written then.
    """
    parameters = {"shop": shop_id, "hold": hold_id, "expires": expires_at, "back_from": back_from}
    return bool(await fetch(engine, _MOVE_DEADLINE, parameters))


def lines_as_arrays(lines: Sequence[Line]) -> dict[str, object]:
    """Return the lines as the three parallel arrays that the statements unnest."""
    return {
        "skus": [line.sku for line in lines],
        "variants": [line.variant_key for line in lines],
        "quantities": [line.quantity for line in lines],
    }
