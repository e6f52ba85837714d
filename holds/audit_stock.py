"""The audit of stock: compares every item with its active holds and its last movement."""

from collections.abc import Callable

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import DatabaseBusyError, DatabaseUnavailableError
from core.rests import NO_RESTS, Rests
from holds.audit_model import Repair, StockAudit
from inventory import audit
from inventory.audit import Drift, ItemKey, in_batches


class StockAuditor:
    """Checks and repairs items. `progress` is called with the number of rows of every batch."""

    def __init__(self, engine: AsyncEngine, progress: Callable[[int], None] = lambda _rows: None) -> None:
        self._engine = engine
        self._progress = progress

    async def check(self, shop_id: str | None = None, rests: Rests = NO_RESTS) -> StockAudit:
        """Find the items whose figures disagree. Raises DatabaseBusyError and DatabaseUnavailableError.

        Holds and items are read in batches, at different moments, which finds suspects. Each suspect is then read
        again in one statement, so that a hold made or ended in between is no finding.
        """
        active: dict[ItemKey, int] = {}
        async for holds in rests.between(audit.active_holds(self._engine, shop_id)):
            self._progress(len(holds))
            for hold in holds:
                for line in hold.lines:
                    key = ItemKey(hold.shop_id, line.sku, line.variant_key)
                    active[key] = active.get(key, 0) + line.quantity
        items, suspects = 0, list[ItemKey]()
        async for page in rests.between(audit.item_balances(self._engine, shop_id)):
            self._progress(len(page))
            items += len(page)
            for item in page:
                held_is_right = item.held == active.pop(item.key, 0)
                if not held_is_right or item.quantity + item.held != (item.last_on_hand or 0):
                    suspects.append(item.key)
        suspects += active  # lines of items that do not exist
        drifts = list[Drift]()
        for batch in in_batches(sorted(suspects)):
            self._progress(len(batch))
            drifts += await audit.find_drift(self._engine, batch)
        return StockAudit(items, drifts)

    async def repair(self, drift: Drift) -> tuple[Drift, Repair | None]:
        """Repair the item, and return what was found under its lock. The Repair is None if none is possible."""
        try:
            found = await audit.repair(self._engine, drift.key)
        except (DatabaseBusyError, DatabaseUnavailableError) as error:
            return drift, Repair(str(error))
        if found is None:  # the item is right by now
            return drift, Repair()
        return found, Repair() if found.repairable else None
