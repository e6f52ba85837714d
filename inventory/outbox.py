"""The outbox: events of holds and of low stock, in order, until they are handed over to Temporal."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb
from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import Row, classified_errors, fetch, fetch_on
from domain.holds import Line
from inventory.fragments import lines_as_json

BATCH = 200

_LOCK_KEY = int.from_bytes(b"outbox")

# One process at a time, so that the events of one hold are handed over in the order in which they were written. The
# lock ends with the transaction, so also with the process.
_LOCK = f"SELECT pg_try_advisory_xact_lock({_LOCK_KEY}) AS locked"

# The lines at the time of the event: of an amendment those after it, else those before the next amendment.
_NEXT = f"""
SELECT id, "eventId", type, "shopId", "holdId", sku, "variantKey", data, "createdAt",
       coalesce(data -> 'after' -> 'items', (
         SELECT a.before -> 'items' FROM "InventoryHoldAmendment" a
         WHERE a."shopId" = o."shopId" AND a."holdId" = o."holdId" AND a."createdAt" > o."createdAt"
         ORDER BY a."createdAt" LIMIT 1), lines::jsonb) AS lines
FROM (
  SELECT o.id, o."eventId"::text AS "eventId", o.type, o."shopId", o."holdId", o.sku, o."variantKey", o.data,
         o."createdAt", {lines_as_json(shop='o."shopId"', hold='o."holdId"')}
  FROM "InventoryOutbox" o {{where}} ORDER BY o.id LIMIT {{limit}}
) o ORDER BY id
"""  # noqa: S608 - constants

_DELETE = 'DELETE FROM "InventoryOutbox" WHERE id = ANY(%(ids)s::bigint[])'

_RECORD = """
INSERT INTO "InventoryOutbox" ("eventId", type, "shopId", "holdId", data)
SELECT %(event)s::uuid, %(type)s, h."shopId", h.id, to_jsonb(h) || %(more)s::jsonb FROM "InventoryHold" h
WHERE h."shopId" = %(shop)s AND h.id = %(hold)s AND current_setting('holdfast.events', true) = 'on'
"""


# The id is of the hold and its creation, so that a repeat is recognized.
_EXPIRING = """
INSERT INTO "InventoryOutbox" ("eventId", type, "shopId", "holdId", data)
SELECT md5('hold.expiring' || h."shopId" || ':' || h.id || ':' || h."createdAt")::uuid, 'hold.expiring', h."shopId",
       h.id, to_jsonb(h)
FROM "InventoryHold" h
WHERE h."shopId" = %(shop)s AND h.id = %(hold)s AND h.status = 'active'
  AND current_setting('holdfast.events', true) = 'on'
"""


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """An event of a hold, or of an item (`hold_id` is None)."""

    id: int
    event_id: str
    """A UUID, the same each time the entry is handed over."""
    type: str
    shop_id: str
    hold_id: str | None
    sku: str | None
    variant_key: str | None
    data: Mapping[str, Any]
    """The hold's row or the item's figures, at the time of the event."""
    at: datetime
    lines: tuple[Line, ...]


@dataclass
class OutboxBatch:
    """Entries to hand over, in the order of their events. Those whose ids are in `done` are deleted afterwards."""

    entries: Sequence[OutboxEntry] = ()
    done: list[int] = field(default_factory=list)


@asynccontextmanager
async def claim_batch(engine: AsyncEngine, *, with_holds: bool) -> AsyncIterator[OutboxBatch]:
    """Yield the oldest entries, BATCH at most; no other process gets any while the block runs.

    The batch is empty while another process has one. Entries that are not in `done` when the block or the process ends
    come again. `with_holds=False` leaves out the events of holds. Raises DatabaseBusyError and
    DatabaseUnavailableError.
    """
    where = "" if with_holds else 'WHERE o."holdId" IS NULL'
    with classified_errors():
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="READ COMMITTED")
            async with connection.begin():
                if not (await fetch_on(connection, _LOCK, {}))[0]["locked"]:
                    yield OutboxBatch()
                    return
                rows = await fetch_on(connection, _NEXT.format(where=where, limit=BATCH), {})
                batch = OutboxBatch([_entry_from_row(row) for row in rows])
                yield batch
                if batch.done:
                    await fetch_on(connection, _DELETE, {"ids": batch.done})


async def record_hold_event(
    engine: AsyncEngine, *, event_id: str, event_type: str, shop_id: str, hold_id: str, more: Mapping[str, object]
) -> None:
    """Add an event of a hold that does not change its row, such as the refund of a late payment.

    `event_id` is a UUID derived from the event, so that its receiver recognizes a repeat. `more` is added to the hold's
    row in the event's data. Does nothing where events are off, or where there is no such hold. Raises DatabaseBusyError
    and DatabaseUnavailableError.
    """
    parameters = {"event": event_id, "type": event_type, "shop": shop_id, "hold": hold_id, "more": Jsonb(dict(more))}
    await fetch(engine, _RECORD, parameters)


async def record_expiring(engine: AsyncEngine, shop_id: str, hold_id: str) -> None:
    """Add the event that an active hold is about to expire, as `record_hold_event` does."""
    await fetch(engine, _EXPIRING, {"shop": shop_id, "hold": hold_id})


def _entry_from_row(row: Row) -> OutboxEntry:
    return OutboxEntry(
        id=row["id"],
        event_id=row["eventId"],
        type=row["type"],
        shop_id=row["shopId"],
        hold_id=row["holdId"],
        sku=row["sku"],
        variant_key=row["variantKey"],
        data=row["data"],
        at=row["createdAt"],
        lines=tuple(Line(*line) for line in row["lines"]),
    )
