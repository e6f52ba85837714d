"""Lists hold workflows by Temporal's visibility store, which lags behind by up to some seconds."""

from collections.abc import AsyncIterator, Callable

from temporalio.client import Client, WorkflowExecution

from domain.holds import HoldKey
from inventory.audit import BATCH


async def list_hold_workflows(
    client: Client, query: str, shop_id: str | None, progress: Callable[[int], None] = lambda _rows: None
) -> AsyncIterator[tuple[HoldKey, WorkflowExecution]]:
    """Yield the runs of HoldWorkflow that match the query, with their holds. Raises RPCError."""
    of_shop = f' AND ShopId = "{shop_id}"' if shop_id else ""
    found = 0
    async for run in client.list_workflows(f'WorkflowType = "HoldWorkflow" AND {query}{of_shop}', page_size=1000):
        prefix, _, name = run.id.partition(":")
        shop, _, hold = name.partition(":")
        if prefix == "hold" and hold:
            yield HoldKey(shop, hold), run
        found += 1
        if found % BATCH == 0:
            progress(BATCH)
