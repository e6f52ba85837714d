"""Stock: validate a cart, set items by count, list them, tell where an item's units went."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from api import cursor
from api.auth import Admin, Authority, KnownCallersRoute
from api.dependencies import resources_of
from api.errors import ApiError, insufficient
from api.openapi import FORBIDDEN, READ_ERRORS, WRITE_ERRORS, errors, examples
from api.problems import Problem
from api.requests import ItemIn, ItemsIn, ItemsQuery, ValidateIn, merged
from api.responses import ItemOut, ItemsOut, ItemsPageOut, ValidOut
from api.stock_requests import TimelineQuery, require_named_once
from api.stock_responses import BelowHeldOut
from api.timeline import TimelineOut
from core.timeouts import run_with_timeout
from holds.errors import InsufficientStockError
from inventory.counts import KEEP, CountBelowHeldError, ItemCount, count_items
from inventory.items import list_items, read_short
from inventory.timeline import Place, read_timeline

router = APIRouter(prefix="/api/inventory", tags=["stock"], route_class=KnownCallersRoute)


@router.post(
    "/validate",
    summary="Can this cart be bought now?",
    responses=errors(Problem.insufficient_stock) | WRITE_ERRORS,
    openapi_extra=examples("validate"),
)
async def validate(request: Request, _caller: Authority, body: ValidateIn) -> ValidOut:
    """Compare the cart with what can be sold now. Nothing is held; two shoppers may both be told yes."""
    context = resources_of(request)
    if context.settings.bypass:
        context.telemetry.warn("inventory_bypassed", route="validate", shop_id=body.shop_id)
        return ValidOut(bypassed=True)
    short = await run_with_timeout(
        context.settings.request_timeout_ms / 1000, read_short(context.engine, body.shop_id, merged(body.items))
    )
    context.telemetry.validated(ok=not short, shop_id=body.shop_id)
    if short:
        context.telemetry.rejected(body.shop_id, [(item.sku, item.known) for item in short])
        raise insufficient(InsufficientStockError(body.shop_id, short))
    return ValidOut()


@router.put(
    "/items",
    summary="Set items by count (admin)",
    responses=errors(Problem.count_below_held) | FORBIDDEN | WRITE_ERRORS,
    openapi_extra=examples("items"),
)
async def put_items(request: Request, caller: Admin, body: ItemsIn) -> ItemsOut:
    """Say what is on hand of each item named, all or none; others are left alone, new ones are made.

    What active holds have is never touched: what can be sold becomes `onHand` less `held`.
    """
    require_named_once("items", body.items)
    context = resources_of(request)
    counts = [_count_of(item) for item in body.items]
    work = count_items(context.engine, body.shop_id, counts, actor=caller.actor, reason=body.reason)
    try:
        items = await run_with_timeout(context.settings.request_timeout_ms / 1000, work)
    except CountBelowHeldError as error:
        raise ApiError(
            Problem.count_below_held, items=[BelowHeldOut.of(item).dump() for item in error.items]
        ) from error
    return ItemsOut(items=[ItemOut.of(item) for item in items])


def _count_of(item: ItemIn) -> ItemCount:
    named = item.model_fields_set
    return ItemCount(
        sku=item.sku,
        variant_key=item.variant_key,
        on_hand=item.on_hand,
        product_id=item.product_id if "product_id" in named else KEEP,
        variant_attributes=item.variant_attributes if "variant_attributes" in named else KEEP,
        low_stock_threshold=item.low_stock_threshold if "low_stock_threshold" in named else KEEP,
        retired=item.retired if "retired" in named else KEEP,
    )


@router.get("/items", summary="List a shop's items", responses=READ_ERRORS)
async def get_items(request: Request, _caller: Authority, query: Annotated[ItemsQuery, Query()]) -> ItemsPageOut:
    """Read a page of items by sku and variant; send `nextCursor` as `cursor` for the next."""
    context = resources_of(request)
    items, after = await run_with_timeout(
        context.settings.request_timeout_ms / 1000,
        list_items(
            context.engine,
            query.shop_id,
            sku=query.sku,
            low_stock=query.low_stock,
            retired=query.retired,
            limit=query.limit,
            after=cursor.decode(query.cursor),
        ),
    )
    return ItemsPageOut(
        items=[ItemOut.of(item) for item in items], nextCursor=cursor.encode(*after) if after is not None else None
    )


@router.get("/timeline", summary="Where an item's stock went", responses=errors(Problem.item_not_found) | READ_ERRORS)
async def get_timeline(request: Request, _caller: Authority, query: Annotated[TimelineQuery, Query()]) -> TimelineOut:
    """Read the item as it is now and a page of its movements and holds, newest first.

    Over all pages the entries' `delta` add up to the item's `onHand`, and their `held` to its `held`.
    """
    context = resources_of(request)
    ids = cursor.decode_ids(query.cursor)
    after = None if ids is None else Place(*ids)
    found = await run_with_timeout(
        context.settings.request_timeout_ms / 1000,
        read_timeline(context.engine, query.shop_id, query.sku, query.variant_key, limit=query.limit, after=after),
    )
    if found is None:
        raise ApiError(Problem.item_not_found, items=[{"sku": query.sku, "variantKey": query.variant_key}])
    return TimelineOut.of(found)
