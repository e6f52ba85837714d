"""Stock: check a cart, set items by count, list items, read an item's timeline."""

from typing import Annotated

from fastapi import APIRouter, Query

from api import cursor
from api.auth import Admin, Authority, KnownCallersRoute
from api.dependencies import EngineDep, SettingsDep, TelemetryDep, TimeLimitDep
from api.errors import insufficient
from api.openapi import FORBIDDEN, READ_ERRORS, WRITE_ERRORS, errors, examples
from api.problems import Problem
from api.requests import ItemIn, ItemsIn, ItemsQuery, ValidateIn, merged
from api.responses import ItemsOut, ItemsPageOut, ValidOut
from api.stock_requests import TimelineQuery, require_named_once
from holds.errors import InsufficientStockError
from holds.stock_json import ItemOut, TimelineOut
from inventory.counts import KEEP, ItemCount, count_items
from inventory.errors import UnknownItemsError
from inventory.items import ItemName, list_items, read_short
from inventory.timeline import TimelinePosition, read_timeline

router = APIRouter(prefix="/api/inventory", tags=["stock"], route_class=KnownCallersRoute)


@router.post(
    "/validate",
    summary="Check whether a cart can be bought now",
    responses=errors(Problem.insufficient_stock) | WRITE_ERRORS,
    openapi_extra=examples("validate"),
)
async def validate(
    *,
    engine: EngineDep,
    settings: SettingsDep,
    telemetry: TelemetryDep,
    in_time: TimeLimitDep,
    _caller: Authority,
    body: ValidateIn,
) -> ValidOut:
    """Compare the cart with the available stock. Nothing is held, so two shoppers may get `ok` for the same unit.

    The units that the shopper already holds count as available if `holdId` or `reference` names the hold.
    """
    if settings.bypass:
        telemetry.warn("inventory_bypassed", route="validate", shop_id=body.shop_id)
        return ValidOut(bypassed=True)
    work = read_short(engine, body.shop_id, merged(body.items), hold_id=body.hold_id, reference=body.reference)
    short = await in_time(work)
    telemetry.validated(ok=not short, shop_id=body.shop_id)
    if short:
        telemetry.rejected(body.shop_id, [(item.sku, item.known) for item in short])
        raise insufficient(InsufficientStockError(body.shop_id, short))
    return ValidOut()


@router.put(
    "/items",
    summary="Set items by count (admin)",
    responses=errors(Problem.count_below_held) | FORBIDDEN | WRITE_ERRORS,
    openapi_extra=examples("items"),
)
async def put_items(*, engine: EngineDep, in_time: TimeLimitDep, caller: Admin, body: ItemsIn) -> ItemsOut:
    """Set the units on hand of each item named, all items or none. New items are created, others do not change.

    Held units do not change: the available units become `onHand` less `held`.
    """
    require_named_once("items", body.items)
    counts = [_count_of(item) for item in body.items]
    items = await in_time(count_items(engine, body.shop_id, counts, actor=caller.actor, reason=body.reason))
    return ItemsOut(items=[ItemOut.of(item) for item in items])


def _count_of(item: ItemIn) -> ItemCount:
    named = item.model_fields_set
    return ItemCount(
        sku=item.sku,
        variant_key=item.variant_key,
        on_hand=item.on_hand,
        product_id=item.product_id if "product_id" in named else KEEP,
        name=item.name if "name" in named else KEEP,
        variant_attributes=item.variant_attributes if "variant_attributes" in named else KEEP,
        low_stock_threshold=item.low_stock_threshold if "low_stock_threshold" in named else KEEP,
        retired=item.retired if "retired" in named else KEEP,
        max_per_order=item.max_per_order if "max_per_order" in named else KEEP,
        max_per_buyer=item.max_per_buyer if "max_per_buyer" in named else KEEP,
    )


@router.get("/items", summary="List a shop's items", responses=READ_ERRORS)
async def get_items(
    *, engine: EngineDep, in_time: TimeLimitDep, _caller: Authority, query: Annotated[ItemsQuery, Query()]
) -> ItemsPageOut:
    """Read a page of items by sku and variant; send `nextCursor` as `cursor` for the next page."""
    after = cursor.decode(query.cursor)
    page = await in_time(
        list_items(
            engine,
            query.shop_id,
            sku=query.sku,
            low_stock=query.low_stock,
            retired=query.retired,
            limit=query.limit,
            after=None if after is None else ItemName(*after),
        )
    )
    return ItemsPageOut(
        items=[ItemOut.of(item) for item in page.items],
        nextCursor=None if page.next_after is None else cursor.encode(*page.next_after),
    )


@router.get("/timeline", summary="Read an item's timeline", responses=errors(Problem.item_not_found) | READ_ERRORS)
async def get_timeline(
    *, engine: EngineDep, in_time: TimeLimitDep, _caller: Authority, query: Annotated[TimelineQuery, Query()]
) -> TimelineOut:
    """Read the item as it is now and a page of its movements and holds, newest first.

    Over all pages the entries' `delta` add up to the item's `onHand`, and their `held` to its `held`.
    """
    ids = cursor.decode_ids(query.cursor)
    after = None if ids is None else TimelinePosition(*ids)
    timeline = await in_time(
        read_timeline(engine, query.shop_id, query.sku, query.variant_key, limit=query.limit, after=after)
    )
    if timeline is None:
        raise UnknownItemsError([ItemName(query.sku, query.variant_key)])
    position = timeline.next_after
    next_cursor = (
        None
        if position is None
        else cursor.encode(str(position.movement_id), str(position.line_id), str(position.amendment_id))
    )
    return TimelineOut.of(timeline, next_cursor)
