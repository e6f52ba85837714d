"""Reads the figures of a time window from the database, in one read-only snapshot, by the indexes of time and key."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row

from core.database_session import connection_info, transaction_settings
from core.settings import Settings
from domain.smoke import SMOKE_SHOP

_STATEMENT = "60s"
_OVERDUE = "1 minute"

_OF_SHOP = f"""CASE WHEN %(shop)s::text IS NULL THEN "shopId" <> '{SMOKE_SHOP}' ELSE "shopId" = %(shop)s END"""

_HOLDS = f"""
SELECT count(*) FILTER (WHERE status = 'active') AS active,
       count(*) FILTER (WHERE status = 'committed') AS committed,
       count(*) FILTER (WHERE status = 'released') AS released,
       count(*) FILTER (WHERE status = 'expired') AS expired,
       percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY extract(epoch FROM "committedAt" - "createdAt"))
         FILTER (WHERE status = 'committed' AND reason IS DISTINCT FROM 'late_payment'
                 AND "committedAt" - "createdAt" <= make_interval(secs => %(ceiling)s)) AS commit_seconds,
       percentile_cont(ARRAY[0.5, 0.95, 1]) WITHIN GROUP (ORDER BY extract(epoch FROM "expiredAt" - "expiresAt"))
         FILTER (WHERE status = 'expired') AS expiry_lag
FROM "InventoryHold"
WHERE "createdAt" >= %(since)s AND {_OF_SHOP}
"""  # noqa: S608 - constants

_OVERDUE_HOLDS = f"""
SELECT count(*) AS overdue FROM "InventoryHold"
WHERE status = 'active' AND "expiresAt" < now() - interval '{_OVERDUE}'
  AND {_OF_SHOP}
"""  # noqa: S608 - constants

_ARCHIVED = f"""
SELECT count(*) AS holds FROM "InventoryHoldArchive" WHERE "createdAt" >= %(since)s AND {_OF_SHOP}
"""  # noqa: S608 - constants

# Movements have no index by time, but their ids grow with it: the first of the window is found by bisection.
_LIMITS = 'SELECT coalesce(min(id), 0) AS first, coalesce(max(id), 0) AS last FROM "InventoryMovement"'
_AT = 'SELECT id, "createdAt" AS at FROM "InventoryMovement" WHERE id >= %(id)s ORDER BY id LIMIT 1'
_SLACK = 10_000
"""How far the order of ids may differ from the order of times: ids are assigned before their transaction commits."""

_MOVEMENTS = f"""
SELECT count(*) FILTER (WHERE m."onHand" < 0) AS below_zero,
       count(DISTINCT (m."shopId", m.sku, m."variantKey")) FILTER (WHERE m.kind = 'count' AND m.delta <> 0
         AND EXISTS (SELECT FROM "InventoryMovement" e WHERE e."shopId" = m."shopId" AND e.sku = m.sku
                     AND e."variantKey" = m."variantKey" AND e.id < m.id)) AS corrected
FROM "InventoryMovement" m
WHERE m.id >= %(first)s AND m."createdAt" >= %(since)s AND {_OF_SHOP}
"""  # noqa: S608 - constants

_ITEMS = f"""
SELECT count(*) AS items, count(*) FILTER (WHERE quantity < 0 OR held < 0) AS below_zero FROM "InventoryItem"
WHERE "retiredAt" IS NULL AND {_OF_SHOP}
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Records:
    """Holds created in the window, by their present status, and the window's stock movements. Times in seconds."""

    active: int
    committed: int
    released: int
    expired: int
    commit_p50: float | None
    """From creation to commit. Late payments, and payments slower than the ceiling of a hold's life (debits), are left
    out: they do not measure how long a checkout takes."""
    commit_p95: float | None
    expiry_lag_p50: float | None
    expiry_lag_p95: float | None
    expiry_lag_max: float | None
    archived: int
    """Holds created in the window that are archived; the figures above do not include them."""
    overdue: int
    """Holds of any age that should have ended more than a minute ago."""
    oversold: int
    """Items and balances below zero."""
    items: int
    corrected: int
    """Items whose count differed from the record. A count that agrees leaves no movement."""

    @property
    def made(self) -> int:
        """All holds created in the window."""
        return self.active + self.ended

    @property
    def ended(self) -> int:
        """The holds of the window that have ended."""
        return self.committed + self.released + self.expired

    @property
    def commit_rate(self) -> float | None:
        """The share of the ended holds that were committed."""
        return self.committed / self.ended if self.ended else None

    @property
    def expiry_rate(self) -> float | None:
        """The share of the ended holds that expired."""
        return self.expired / self.ended if self.ended else None

    @property
    def accuracy(self) -> float | None:
        """The share of the items that no count corrected."""
        return 1 - self.corrected / self.items if self.items else None


def read_records(settings: Settings, since: datetime, shop: str | None) -> Records:
    """Read the window from `since` to now, of one shop, or of all but `holdfast smoke`'s. Raises psycopg.Error."""
    info = connection_info(settings, for_writing=False)
    threshold = settings.prepare_threshold
    with psycopg.connect(info, prepare_threshold=threshold, row_factory=dict_row) as connection:
        connection.read_only = True
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        if in_transaction := transaction_settings(settings):
            connection.execute(in_transaction.encode())
        connection.execute(f"SET LOCAL statement_timeout = '{_STATEMENT}'".encode())
        where: dict[str, Any] = {"since": since, "shop": shop, "ceiling": settings.max_ttl_seconds}
        holds = _one(connection, _HOLDS, where)
        overdue = _one(connection, _OVERDUE_HOLDS, where)
        archived = _one(connection, _ARCHIVED, where)
        first = max(_first_movement(connection, since) - _SLACK, 0)
        movements = _one(connection, _MOVEMENTS, {**where, "first": first})
        items = _one(connection, _ITEMS, where)
    commit = holds["commit_seconds"] or [None, None]
    lag = holds["expiry_lag"] or [None, None, None]
    return Records(
        active=holds["active"],
        committed=holds["committed"],
        released=holds["released"],
        expired=holds["expired"],
        commit_p50=commit[0],
        commit_p95=commit[1],
        expiry_lag_p50=lag[0],
        expiry_lag_p95=lag[1],
        expiry_lag_max=lag[2],
        archived=archived["holds"],
        overdue=overdue["overdue"],
        oversold=movements["below_zero"] + items["below_zero"],
        items=items["items"],
        corrected=movements["corrected"],
    )


def _first_movement(connection: psycopg.Connection[DictRow], since: datetime) -> int:
    limits = _one(connection, _LIMITS, {})
    low, high = limits["first"], limits["last"] + 1
    while low < high:
        middle = (low + high) // 2
        found = connection.execute(_AT.encode(), {"id": middle}).fetchone()
        if found is None or found["at"] >= since:
            high = middle
        else:
            low = found["id"] + 1
    return int(low)


def _one(connection: psycopg.Connection[DictRow], statement: str, parameters: dict[str, Any]) -> DictRow:
    row = connection.execute(statement.encode(), parameters).fetchone()
    assert row is not None  # noqa: S101 - the statement returns one row
    return row
