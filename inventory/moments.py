"""When audits were last completed, and Stripe's events last arrived or were due: known after a restart too."""

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncEngine

from core.best_effort import best_effort
from core.database import fetch
from core.outage_log import OutageLog


class Moment(StrEnum):
    """What is remembered."""

    AUDIT_STOCK = "audit_stock"
    AUDIT_RUNS = "audit_runs"
    STRIPE_EVENT = "stripe_event"
    """A correctly signed event of the key's mode arrived."""
    STRIPE_EVENT_DUE = "stripe_event_due"
    """The first time at which Stripe had a reason to send another, ARRIVING_SECONDS after that one or later."""


ARRIVING_SECONDS = 60
"""An event that arrived so shortly before the next was due may be that one: the clocks of two machines differ."""

_NOTE = """
INSERT INTO "InventoryMoment" AS m (name, at) VALUES (%(name)s, clock_timestamp())
ON CONFLICT (name) DO UPDATE SET at = greatest(m.at, excluded.at)
"""

# A webhook never waits for another's lock: whoever has it is writing the same second.
_NOTE_EVENT = f"""
WITH before AS (
  SELECT name FROM "InventoryMoment"
  WHERE name = '{Moment.STRIPE_EVENT}' AND at < clock_timestamp() - interval '1 second'
  FOR UPDATE SKIP LOCKED
), changed AS (
  UPDATE "InventoryMoment" m SET at = clock_timestamp() FROM before WHERE m.name = before.name
)
INSERT INTO "InventoryMoment" (name, at) SELECT '{Moment.STRIPE_EVENT}', clock_timestamp()
WHERE NOT EXISTS (SELECT FROM "InventoryMoment" WHERE name = '{Moment.STRIPE_EVENT}')
ON CONFLICT DO NOTHING
"""  # noqa: S608 - constants

# `heard`: until then the last event counts for what is due; NULL: none ever arrived. A row that another transaction
# changed meanwhile is compared again once it is locked, so the first that is due stays.
_NOTE_DUE = f"""
WITH due AS MATERIALIZED (
  SELECT clock_timestamp() - make_interval(secs => %(ago)s) AS at,
    (SELECT at + interval '{ARRIVING_SECONDS} seconds' FROM "InventoryMoment"
     WHERE name = '{Moment.STRIPE_EVENT}') AS heard
), before AS (
  SELECT m.name, due.at FROM "InventoryMoment" m, due
  WHERE m.name = '{Moment.STRIPE_EVENT_DUE}' AND m.at <= due.heard AND due.at > due.heard
  FOR UPDATE OF m SKIP LOCKED
), changed AS (
  UPDATE "InventoryMoment" m SET at = before.at FROM before WHERE m.name = before.name
)
INSERT INTO "InventoryMoment" (name, at) SELECT '{Moment.STRIPE_EVENT_DUE}', due.at FROM due
WHERE (due.heard IS NULL OR due.at > due.heard)
  AND NOT EXISTS (SELECT FROM "InventoryMoment" WHERE name = '{Moment.STRIPE_EVENT_DUE}')
ON CONFLICT DO NOTHING
"""  # noqa: S608 - constants

_READ = 'SELECT name, extract(epoch FROM at)::float8 AS at FROM "InventoryMoment"'

_outage = OutageLog(
    "holdfast", fails="cannot note when an audit ran or an event came", works="audits and events are noted again"
)


async def note(engine: AsyncEngine, moment: Moment) -> None:
    """Note that it happened now. A failure is logged: what happened matters more than its note."""
    await best_effort(fetch(engine, _NOTE, {"name": moment.value}), _outage)


async def note_stripe_event(engine: AsyncEngine) -> None:
    """Note that an event arrived, at most once a second. A failure is logged."""
    await best_effort(fetch(engine, _NOTE_EVENT, {}), _outage)


async def note_stripe_event_due(engine: AsyncEngine, seconds_ago: float) -> None:
    """Note when an event became due, if none has arrived since or shortly before, and none was due before it.

    A failure is logged.
    """
    await best_effort(fetch(engine, _NOTE_DUE, {"ago": seconds_ago}), _outage)


async def read_moments(engine: AsyncEngine) -> Mapping[str, float]:
    """Return each moment in seconds since 1970, 0 for what never happened.

    Raises DatabaseBusyError, DatabaseUnavailableError, and psycopg's errors, as where the role may not read the table.
    """
    rows = await fetch(engine, _READ, {})
    return {moment.value: 0.0 for moment in Moment} | {row["name"]: row["at"] for row in rows}
