"""Stripe's lists: newest first, in pages (https://docs.stripe.com/api/pagination)."""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from dev.simulator.errors import invalid
from dev.simulator.forms import Params
from dev.simulator.records import Json
from dev.simulator.shapes import page_of
from dev.simulator.store import find

_MOST = 100


class Listed(Protocol):
    """Anything with an id and a time."""

    id: str
    created: int


Record = TypeVar("Record", bound=Listed)


def page(params: Params, records: Iterable[Record], url: str, render: Callable[[Record], Json]) -> Json:
    """Return the page that the parameters ask for, of records in the order in which they were made."""
    limit = params.integer("limit", least=1) or 10
    if limit > _MOST:
        raise invalid(f"This value must be less than or equal to {_MOST}.", param="limit")
    lowest, highest = _created(params)
    after, before = params.text("starting_after"), params.text("ending_before")
    params.refuse_unknown()
    newest_first = [record for record in records if lowest <= record.created <= highest][::-1]
    ids = {record.id: place for place, record in enumerate(newest_first)}
    if after is not None:
        newest_first = newest_first[find(ids, after, "object", "starting_after", in_url=False) + 1 :]
    if before is not None:
        newest_first = newest_first[: find(ids, before, "object", "ending_before", in_url=False)]
    shown = newest_first[:limit] if before is None else newest_first[-limit:]
    return page_of([render(record) for record in shown], url, has_more=len(newest_first) > limit)


def _created(params: Params) -> tuple[int, int]:
    lowest, highest = 0, 2**62
    if isinstance(params.values.get("created"), str):
        exact = params.integer("created") or 0
        return exact, exact
    span = params.nested("created")
    if span is not None:
        lowest = max(span.integer("gte") or 0, (span.integer("gt") or -1) + 1)
        highest = min(span.integer("lte") or highest, (span.integer("lt") or highest) - 1)
    return lowest, highest
