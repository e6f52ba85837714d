"""Reads which of many holds have changed: one round trip for all of them."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import fetch
from domain.holds import Hold, HoldKey
from inventory.fragments import HOLD_LINES
from inventory.holds import COLUMNS, hold_from_row

_CHANGED = f"""
SELECT {COLUMNS}, {HOLD_LINES}
FROM unnest(%(shops)s::text[], %(holds)s::text[], %(known)s::timestamptz[]) AS followed("shopId", id, "updatedAt")
JOIN "InventoryHold" h USING ("shopId", id)
WHERE h."updatedAt" <> followed."updatedAt"
"""  # noqa: S608 - constants


async def read_changed(engine: AsyncEngine, known: Mapping[HoldKey, datetime]) -> list[Hold]:
    """Return those of the holds whose `updated_at` is not the given one. Archived holds are not among them.

    Raises DatabaseBusyError and DatabaseUnavailableError.
    """
    parameters = {
        "shops": [key.shop_id for key in known],
        "holds": [key.hold_id for key in known],
        "known": list(known.values()),
    }
    return [hold_from_row(row) for row in await fetch(engine, _CHANGED, parameters)]
