"""The audit's one eye: every item against its active holds and its movements."""

from collections.abc import Callable

from sqlalchemy.ext.asyncio import AsyncEngine

from core.database import DatabaseBusyError, DatabaseUnavailableError
from holds.audit_text import why_not
from inventory import audit
from inventory.audit import Drift, ItemKey, in_batches


class StockAuditor:
    """Looks at items, and sets right what movements and holds tell. `progress` is told of every batch."""

    def __init__(self, engine: AsyncEngine, progress: Callable[[int], None] = lambda _looked_at: None) -> None:
        self._engine = engine
        self._progress = progress

    async def look(self, shop_id: str | None = None) -> tuple[int, list[Drift]]:
        """Return how many items there are and those whose figures disagree.

        Sums and items are first read apart, in batches; whatever disagrees then, by a hold made or ended in between or
        truly, is read again in one statement.
        """
        active: dict[ItemKey, int] = {}
        async for holds in audit.active_holds(self._engine, shop_id):
            self._progress(len(holds))
            for hold in holds:
                for line in hold.lines:
                    key = (hold.shop_id, line.sku, line.variant_key)
                    active[key] = active.get(key, 0) + line.quantity
        items, suspects = 0, list[ItemKey]()
        async for page in audit.counts(self._engine, shop_id):
            self._progress(len(page))
            items += len(page)
            for count in page:
                held_is_right = count.held == active.pop(count.key, 0)
                if not held_is_right or count.quantity + count.held != (count.on_hand or 0):
                    suspects.append(count.key)
        suspects += active  # lines of items that are not there
        drifts = list[Drift]()
        for batch in in_batches(sorted(suspects)):
            self._progress(len(batch))
            drifts += await audit.judge(self._engine, batch)
        return items, drifts

    async def repair(self, drift: Drift) -> tuple[Drift, str | None]:
        """Set the item right. Returns what was found under the lock, and why it could not be set right, if so."""
        try:
            found = await audit.repair(self._engine, drift.key)
        except (DatabaseBusyError, DatabaseUnavailableError) as error:
            return drift, f"not repaired: {error}"
        if found is None or found.repairable:
            return found or drift, None
        return found, "not repaired: " + why_not(found)
