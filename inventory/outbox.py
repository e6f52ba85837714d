"""The outbox: what the database noted of holds and of low stock, in order, until it has been handed over."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import Row, classified_errors, fetch, fetch_on
from domain.holds import Line

BATCH = 200

_LOCK_KEY = int.from_bytes(b"outbox")

# One process at a time, so that two never hand over the events of one hold in another order than they came in. The
# lock is the transaction's: it goes when the process does.
_TAKE_TURN = f"SELECT pg_try_advisory_xact_lock({_LOCK_KEY}) AS ours"

_NEXT = """
SELECT o.id, o."eventId"::text AS event, o.type, o."shopId", o."holdId", o.sku, o."variantKey", o.data, o."createdAt",
       (SELECT coalesce(json_agg(json_build_array(l.sku, l."variantKey", l.quantity) ORDER BY l.sku, l."variantKey"),
                        '[]')
        FROM "InventoryHoldItem" l WHERE l."holdId" = o."holdId" AND l."shopId" = o."shopId") AS lines
FROM "InventoryOutbox" o {where} ORDER BY o.id LIMIT {limit}
"""

_DELETE = 'DELETE FROM "InventoryOutbox" WHERE id = ANY(%(ids)s::bigint[])'

_NOTE = """
INSERT INTO "InventoryOutbox" ("eventId", type, "shopId", "holdId", data)
SELECT %(event)s::uuid, %(type)s, h."shopId", h.id, to_jsonb(h) || %(more)s::jsonb FROM "InventoryHold" h
WHERE h."shopId" = %(shop)s AND h.id = %(hold)s AND current_setting('holdfast.events', true) = 'on'
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened to a hold, or to an item (`hold_id` is None)."""

    id: int
    event_id: str
    """The same whenever it is handed over again."""
    type: str
    shop_id: str
    hold_id: str | None
    sku: str | None
    variant_key: str | None
    data: Mapping[str, Any]
    """The hold's row as it was then, or the item's figures."""
    at: datetime
    lines: tuple[Line, ...]


@dataclass
class Turn:
    """The entries to hand over, in the order in which they happened. Those named as done are gone afterwards."""

    entries: Sequence[Entry] = ()
    done: list[int] = field(default_factory=list)


@asynccontextmanager
async def turn(engine: AsyncEngine, *, with_holds: bool) -> AsyncIterator[Turn]:
    """Yield what is to be handed over, to this process alone while the block runs; nothing while it is another's turn.

    What is not done when the block ends, or the process, comes again. Raises DatabaseBusyError and
    DatabaseUnavailableError.
    """
    where = "" if with_holds else 'WHERE o."holdId" IS NULL'
    with classified_errors():
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="READ COMMITTED")
            async with connection.begin():
                if not (await fetch_on(connection, _TAKE_TURN, {}))[0]["ours"]:
                    yield Turn()
                    return
                rows = await fetch_on(connection, _NEXT.format(where=where, limit=BATCH), {})
                taken = Turn([_entry(row) for row in rows])
                yield taken
                if taken.done:
                    await fetch_on(connection, _DELETE, {"ids": taken.done})


async def note_hold_event(
    engine: AsyncEngine, *, event_id: str, event_type: str, shop_id: str, hold_id: str, more: Mapping[str, object]
) -> None:
    """Note an event of a hold that no change of its row tells, as a late payment that was refunded.

    `event_id` is a UUID made of what happened, so that a repeat is known for one. Costs a statement, and does nothing
    where events are off.
    """
    parameters = {"event": event_id, "type": event_type, "shop": shop_id, "hold": hold_id, "more": Jsonb(dict(more))}
    await fetch(engine, _NOTE, parameters)


def _entry(row: Row) -> Entry:
    return Entry(
        id=row["id"],
        event_id=row["event"],
        type=row["type"],
        shop_id=row["shopId"],
        hold_id=row["holdId"],
        sku=row["sku"],
        variant_key=row["variantKey"],
        data=row["data"],
        at=row["createdAt"],
        lines=tuple(Line(*line) for line in row["lines"]),
    )
