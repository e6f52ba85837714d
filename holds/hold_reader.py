"""Reads of holds, each bounded by the request's time-out."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from core.settings import Settings
from domain.holds import Hold, HoldKey, Line
from holds.errors import HoldNotFoundError, NotInHoldError
from holds.request_timeout import run_for_caller
from inventory.hold_search import HoldFilter, Page, find_holds, read_archived_hold
from inventory.holds import read_hold


class HoldReader:
    """What can be read of a shop's holds."""

    def __init__(self, engine: AsyncEngine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings

    async def read(self, key: HoldKey) -> Hold:
        """Return the hold as the database has it, or else its archive. Raises HoldNotFoundError."""
        return await run_for_caller(self._settings.request_timeout_ms, self._read(key), key)

    async def _read(self, key: HoldKey) -> Hold:
        hold = await read_hold(self._engine, *key) or await read_archived_hold(self._engine, *key)
        if hold is None:
            raise HoldNotFoundError(key)
        return hold

    async def list(self, shop_id: str, wanted: HoldFilter, *, limit: int, after: tuple[datetime, str] | None) -> Page:
        """Return a page of the shop's holds, newest first."""
        work = find_holds(self._engine, shop_id, wanted, limit=limit, after=after)
        return await run_for_caller(self._settings.request_timeout_ms, work)

    async def row(self, key: HoldKey) -> Hold:
        """Return the hold, without a time limit of its own. Raises HoldNotFoundError."""
        hold = await read_hold(self._engine, key.shop_id, key.hold_id)
        if hold is None:
            raise HoldNotFoundError(key)
        return hold


def require_lines(hold: Hold, items: tuple[Line, ...]) -> None:
    """Raise NotInHoldError if the hold has fewer units than these."""
    for line in items:
        has = sum(each.quantity for each in hold.lines if (each.sku, each.variant_key) == (line.sku, line.variant_key))
        if line.quantity > has:
            raise NotInHoldError(line, has)
