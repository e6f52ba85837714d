"""Where an item's stock went: its movements and its holds, newest first, down to the first unit."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch
from domain.holds import HoldStatus
from inventory.items import ITEM_COLUMNS, Item, item_from


@dataclass(frozen=True, slots=True)
class Entry:
    """A movement, or a hold by when it was made (`kind` is `hold`), which changes nothing of what is on hand."""

    at: datetime
    kind: str
    delta: int
    """The change of what is on hand: over all entries, it adds up to the item's on hand. 0 for a hold."""
    on_hand: int
    """What was on hand after it."""
    quantity: int
    """The units that moved, or that the hold took."""
    held: int
    """What the hold still has: over all entries, it adds up to the item's held. 0 for a movement and an ended hold."""
    actor: str | None
    reason: str | None
    idempotency_key: str | None
    hold_id: str | None
    hold_status: HoldStatus | None
    hold_ended_at: datetime | None
    reference: str | None
    payment_session_id: str | None
    payment_intent_id: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ended: behind this movement and this line of a hold."""

    movement_id: int
    line_id: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """An item as it is now, a page of what led to it, and where the next page begins (None: this was the last)."""

    item: Item
    entries: tuple[Entry, ...]
    next_after: Place | None


_HOLD = """
  h.id AS hold_id, h.status AS hold_status, coalesce(h."committedAt", h."releasedAt", h."expiredAt") AS ended_at,
  h.reference, h."paymentSessionId", h."paymentIntentId"
"""

# One statement, one snapshot: the item is as its newest entries leave it. Each of the two lists is paged by its own
# ids, which do not change; a time may come from another machine's clock, and only parts one list from the other.
_TIMELINE = f"""
WITH item AS (
  SELECT {ITEM_COLUMNS} FROM "InventoryItem"
  WHERE "shopId" = %(shop)s AND sku = %(sku)s AND "variantKey" = %(variant)s
), movements AS (
  SELECT m.id, m."createdAt" AS at, m.kind, m.delta, m."onHand", abs(m.delta) AS quantity, 0 AS held, m.actor,
         m.reason, m."idempotencyKey", {_HOLD.replace("h.id", 'm."holdId"')}
  FROM "InventoryMovement" m LEFT JOIN "InventoryHold" h ON h."shopId" = m."shopId" AND h.id = m."holdId"
  WHERE m."shopId" = %(shop)s AND m.sku = %(sku)s AND m."variantKey" = %(variant)s AND m.id < %(movement)s
  ORDER BY m.id DESC LIMIT %(limit)s
), chosen AS MATERIALIZED (
  SELECT id, "holdId", quantity FROM "InventoryHoldItem"
  WHERE "shopId" = %(shop)s AND sku = %(sku)s AND "variantKey" = %(variant)s AND id < %(line)s
  ORDER BY id DESC LIMIT %(limit)s
), lines AS (
  SELECT l.id, h."createdAt" AS at, 'hold' AS kind, 0 AS delta, NULL::int AS "onHand", l.quantity,
         CASE WHEN h.status = 'active' THEN l.quantity ELSE 0 END AS held, NULL AS actor, h.reason,
         NULL AS "idempotencyKey", {_HOLD}
  FROM chosen l JOIN "InventoryHold" h ON h."shopId" = %(shop)s AND h.id = l."holdId"
)
SELECT (SELECT to_jsonb(i) FROM item i) AS item,
       (SELECT coalesce(json_agg(m ORDER BY m.id DESC), '[]') FROM movements m) AS movements,
       (SELECT coalesce(json_agg(l ORDER BY l.id DESC), '[]') FROM lines l) AS lines
"""  # noqa: S608 - constants

_BEYOND = 2**63 - 1


async def read_timeline(
    engine: AsyncEngine, shop_id: str, sku: str, variant_key: str, *, limit: int = 100, after: Place | None = None
) -> Timeline | None:
    """Return the item and a page of its timeline, newest first, beginning behind `after`; None for an unknown item."""
    after = after or Place(_BEYOND, _BEYOND)
    parameters = {
        "shop": shop_id,
        "sku": sku,
        "variant": variant_key,
        "movement": after.movement_id,
        "line": after.line_id,
        "limit": limit + 1,
    }
    row = (await fetch(engine, _TIMELINE, parameters))[0]
    if row["item"] is None:
        return None
    movements, lines = row["movements"], row["lines"]
    merged = list(heapq.merge(movements, lines, key=lambda each: datetime.fromisoformat(each["at"]), reverse=True))
    page = merged[:limit]
    moved = sum(each["kind"] != "hold" for each in page)
    entries = tuple(_entries(page, movements[moved:]))
    if len(merged) <= limit:
        return Timeline(item_from(row["item"]), entries, None)
    held = len(page) - moved
    place = Place(
        movements[moved - 1]["id"] if moved else after.movement_id, lines[held - 1]["id"] if held else after.line_id
    )
    return Timeline(item_from(row["item"]), entries, place)


def _entries(page: Sequence[Mapping[str, Any]], older: Sequence[Mapping[str, Any]]) -> list[Entry]:
    """Translate a page. A hold left on hand what the movement before it had left, which may be on a later page."""
    on_hand = older[0]["onHand"] if older else 0
    entries = []
    for each in reversed(page):
        if each["kind"] != "hold":
            on_hand = each["onHand"]
        entries.append(
            Entry(
                at=datetime.fromisoformat(each["at"]),
                kind=each["kind"],
                delta=each["delta"],
                on_hand=on_hand,
                quantity=each["quantity"],
                held=each["held"],
                actor=each["actor"],
                reason=each["reason"],
                idempotency_key=each["idempotencyKey"],
                hold_id=each["hold_id"],
                hold_status=None if each["hold_status"] is None else HoldStatus(each["hold_status"]),
                hold_ended_at=None if each["ended_at"] is None else datetime.fromisoformat(each["ended_at"]),
                reference=each["reference"],
                payment_session_id=each["paymentSessionId"],
                payment_intent_id=each["paymentIntentId"],
            )
        )
    return entries[::-1]
