"""An item's timeline: its movements, its holds and their amendments, newest first."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch
from domain.holds import HoldStatus
from inventory.items import ITEM_COLUMNS, Item, item_from_row


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """A movement of stock, or a hold by its creation (`kind` is `hold`) or an amendment of one (`amend`).

    The last two do not change the units on hand.
    """

    at: datetime
    kind: str
    delta: int
    """The change of the units on hand, 0 for a hold. Over all entries it adds up to the item's units on hand."""
    on_hand: int
    """The units on hand after it."""
    quantity: int
    """The units that moved, or that the hold has; of an amendment, that it had afterwards."""
    held: int
    """The units of an active hold, else 0. Over all entries it adds up to the item's held units."""
    sold: int
    """The units that a hold sold when it was committed, else 0."""
    given_back: int
    """The units that a hold gave back when it ended, else 0."""
    actor: str | None
    reason: str | None
    idempotency_key: str | None
    hold_id: str | None
    hold_status: HoldStatus | None
    hold_ended_at: datetime | None
    reference: str | None
    checkout_session_id: str | None
    payment_intent_id: str | None
    before: int | None = None
    """Of an amendment: the units that the hold had before it."""


@dataclass(frozen=True, slots=True)
class TimelinePosition:
    """The position after a page: its last movement, its last line of a hold, and its last amendment."""

    movement_id: int
    line_id: int
    amendment_id: int = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Timeline:
    """An item as it is now, a page of its entries, and the position after it (None: this was the last page)."""

    item: Item
    entries: tuple[TimelineEntry, ...]
    next_after: TimelinePosition | None


_HOLD = """
  h.status AS "holdStatus", coalesce(h."committedAt", h."releasedAt", h."expiredAt") AS "holdEndedAt",
  h.reference, h."paymentSessionId", h."paymentIntentId"
"""

# One statement reads one snapshot, so that the entries add up to the item. Each of the three lists is paged by its own
# ids: times come from several clocks, so they only order the lists against each other.
_TIMELINE = f"""
WITH item AS (
  SELECT {ITEM_COLUMNS} FROM "InventoryItem"
  WHERE "shopId" = %(shop)s AND sku = %(sku)s AND "variantKey" = %(variant)s
), movements AS (
  SELECT m.id, m."createdAt" AS at, m.kind, m.delta, m."onHand", abs(m.delta) AS quantity, 0 AS held, 0 AS sold,
         m.actor, m.reason, m."idempotencyKey", m."holdId", {_HOLD}
  FROM "InventoryMovement" m LEFT JOIN "InventoryHold" h ON h."shopId" = m."shopId" AND h.id = m."holdId"
  WHERE m."shopId" = %(shop)s AND m.sku = %(sku)s AND m."variantKey" = %(variant)s AND m.id < %(movement)s
  ORDER BY m.id DESC LIMIT %(limit)s
), chosen AS MATERIALIZED (
  SELECT id, "holdId", quantity FROM "InventoryHoldItem"
  WHERE "shopId" = %(shop)s AND sku = %(sku)s AND "variantKey" = %(variant)s AND id < %(line)s
  ORDER BY id DESC LIMIT %(limit)s
), lines AS (
  SELECT l.id, h."createdAt" AS at, 'hold' AS kind, 0 AS delta, NULL::int AS "onHand", l.quantity,
         CASE WHEN h.status = 'active' THEN l.quantity ELSE 0 END AS held,
         CASE WHEN h.status <> 'committed' THEN 0 WHEN h.sold IS NULL THEN l.quantity ELSE least(l.quantity, (
           SELECT coalesce(sum(part.quantity), 0)::int
           FROM jsonb_to_recordset(h.sold) AS part(sku text, "variantKey" text, quantity int)
           WHERE part.sku = %(sku)s AND part."variantKey" = %(variant)s)) END AS sold, NULL AS actor, h.reason,
         NULL AS "idempotencyKey", h.id AS "holdId", {_HOLD}
  FROM chosen l JOIN "InventoryHold" h ON h."shopId" = %(shop)s AND h.id = l."holdId"
), amendments AS (
  SELECT a.id, a."createdAt" AS at, 'amend' AS kind, 0 AS delta, NULL::int AS "onHand", a.after AS quantity, a.before,
         0 AS held, 0 AS sold, a.actor, NULL AS reason, NULL AS "idempotencyKey", a."holdId", {_HOLD}
  FROM "InventoryHoldAmendmentItem" a JOIN "InventoryHold" h ON h."shopId" = a."shopId" AND h.id = a."holdId"
  WHERE a."shopId" = %(shop)s AND a.sku = %(sku)s AND a."variantKey" = %(variant)s AND a.id < %(amendment)s
  ORDER BY a.id DESC LIMIT %(limit)s
)
SELECT (SELECT to_jsonb(i) FROM item i) AS item,
       (SELECT coalesce(json_agg(m ORDER BY m.id DESC), '[]') FROM movements m) AS movements,
       (SELECT coalesce(json_agg(l ORDER BY l.id DESC), '[]') FROM lines l) AS lines,
       (SELECT coalesce(json_agg(a ORDER BY a.id DESC), '[]') FROM amendments a) AS amendments
"""  # noqa: S608 - constants

_MAX_ID = 2**63 - 1


async def read_timeline(
    engine: AsyncEngine,
    shop_id: str,
    sku: str,
    variant_key: str,
    *,
    limit: int = 100,
    after: TimelinePosition | None = None,
) -> Timeline | None:
    """Return the item and a page of its timeline, newest first; None where the shop has no such item.

    `after` is the previous page's `next_after`. Raises DatabaseBusyError and DatabaseUnavailableError.
    """
    after = after or TimelinePosition(_MAX_ID, _MAX_ID, _MAX_ID)
    parameters = {
        "shop": shop_id,
        "sku": sku,
        "variant": variant_key,
        "movement": after.movement_id,
        "line": after.line_id,
        "amendment": after.amendment_id,
        "limit": limit + 1,
    }
    row = (await fetch(engine, _TIMELINE, parameters))[0]
    if row["item"] is None:
        return None
    item, movements, lines, amendments = item_from_row(row["item"]), row["movements"], row["lines"], row["amendments"]
    lists = (movements, lines, amendments)
    merged = list(heapq.merge(*lists, key=lambda each: datetime.fromisoformat(each["at"]), reverse=True))
    page = merged[:limit]
    amended, held = (sum(each["kind"] == kind for each in page) for kind in ("amend", "hold"))
    moved = len(page) - amended - held
    older = movements[moved:]
    entries = _entries(page, on_hand_before=older[0]["onHand"] if older else 0)
    if len(merged) <= limit:
        return Timeline(item, entries, None)
    position = TimelinePosition(
        movements[moved - 1]["id"] if moved else after.movement_id,
        lines[held - 1]["id"] if held else after.line_id,
        amendments[amended - 1]["id"] if amended else after.amendment_id,
    )
    return Timeline(item, entries, position)


def _entries(page: Sequence[Mapping[str, Any]], *, on_hand_before: int) -> tuple[TimelineEntry, ...]:
    """Return the entries of a page. A hold or amendment has the units on hand that the movement before it left."""
    on_hand, entries = on_hand_before, list[TimelineEntry]()
    for row in reversed(page):
        on_hand = on_hand if row["onHand"] is None else row["onHand"]
        entries.append(_entry_from_row(row, on_hand))
    return tuple(reversed(entries))


def _entry_from_row(row: Mapping[str, Any], on_hand: int) -> TimelineEntry:
    return TimelineEntry(
        at=datetime.fromisoformat(row["at"]),
        kind=row["kind"],
        delta=row["delta"],
        on_hand=on_hand,
        quantity=row["quantity"],
        held=row["held"],
        sold=row["sold"],
        given_back=row["quantity"] - row["sold"] if row["holdEndedAt"] and row["kind"] == "hold" else 0,
        actor=row["actor"],
        reason=row["reason"],
        idempotency_key=row["idempotencyKey"],
        hold_id=row["holdId"],
        hold_status=None if row["holdStatus"] is None else HoldStatus(row["holdStatus"]),
        hold_ended_at=None if row["holdEndedAt"] is None else datetime.fromisoformat(row["holdEndedAt"]),
        reference=row["reference"],
        checkout_session_id=row["paymentSessionId"],
        payment_intent_id=row["paymentIntentId"],
        before=row.get("before"),
    )
