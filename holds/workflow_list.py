"""Lists hold workflows by Temporal's visibility store, which lags behind by up to some seconds."""

from collections.abc import AsyncIterator, Mapping

from temporalio.client import Client, WorkflowExecution

from domain.holds import HoldKey

_PAGE, _LARGEST_PAGE, _PAGES = 100, 1000, 40
"""Runs of one read: a _PAGES-th of what was read before, within the bounds. With 12,000 open holds on SQLite, on which
all else waits meanwhile, a page of 100 takes 44 ms and one of 1,000 takes 260, but ten pages of 100 take 440."""


async def list_hold_workflows(
    client: Client, query: str, shop_id: str | None
) -> AsyncIterator[Mapping[HoldKey, WorkflowExecution]]:
    """Yield the runs of HoldWorkflow that match the query, by their holds, page by page. Raises RPCError."""
    of_shop = f' AND ShopId = "{shop_id}"' if shop_id else ""
    runs = client.list_workflows(f'WorkflowType = "HoldWorkflow" AND {query}{of_shop}')
    listed = 0
    while True:
        await runs.fetch_next_page(page_size=min(max(_PAGE, listed // _PAGES), _LARGEST_PAGE))
        page = runs.current_page or ()
        yield {key: run for run in page if (key := _hold_of(run)) is not None}
        if runs.next_page_token is None:
            return
        listed += len(page)


def _hold_of(run: WorkflowExecution) -> HoldKey | None:
    prefix, _, name = run.id.partition(":")
    shop, _, hold = name.partition(":")
    return HoldKey(shop, hold) if prefix == "hold" and hold else None
