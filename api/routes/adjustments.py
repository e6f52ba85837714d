"""Corrections of stock: adjustments by a difference, and returns of units that a hold sold."""

from typing import Annotated

from fastapi import APIRouter, Header

from api.auth import Admin, KnownCallersRoute
from api.dependencies import EngineDep, SettingsDep, TimeLimitDep
from api.openapi import FORBIDDEN, WRITE_ERRORS, errors, examples
from api.parameters import HoldPath, KeyText, ShopPath, parse_key
from api.problems import Problem
from api.requests import merged
from api.responses import ItemsOut
from api.stock_requests import AdjustmentsIn, RestockIn, require_named_once
from domain.holds import Hold, HoldKey, Line
from holds.errors import HoldNotFoundError
from holds.hold_json import HoldOut, LineOut
from holds.request_timeout import run_for_caller
from holds.stock_json import ItemOut
from inventory.adjustments import Adjustment, adjust_items
from inventory.holds import read_hold
from inventory.returns import restock

router = APIRouter(prefix="/api/inventory", tags=["stock"], route_class=KnownCallersRoute)

CorrectionKey = Annotated[
    KeyText | None,
    Header(
        alias="Idempotency-Key",
        description="Scoped to the shop, and shared by adjustments and restocks. The same key corrects once, however "
        "often it is sent; without a key, each request is another correction.",
    ),
]


class RestockedOut(HoldOut):
    """The hold, and all its units that have been returned by now."""

    restocked: list[LineOut]


@router.post(
    "/adjustments",
    summary="Adjust stock by a difference (admin)",
    responses=errors(
        Problem.item_not_found, Problem.stock_below_zero, Problem.stock_above_limit, Problem.idempotency_conflict
    )
    | FORBIDDEN
    | WRITE_ERRORS,
    openapi_extra=examples("adjustments"),
)
async def adjust(
    *,
    engine: EngineDep,
    in_time: TimeLimitDep,
    caller: Admin,
    body: AdjustmentsIn,
    idempotency_key: CorrectionKey = None,
) -> ItemsOut:
    """Change the units on hand of each item by its `delta`, all items or none. Held units do not change.

    Repeated with the same `Idempotency-Key` it changes nothing and returns the same items.
    """
    require_named_once("adjustments", body.adjustments)
    adjustments = [Adjustment(each.sku, each.variant_key, each.delta, each.reason) for each in body.adjustments]
    key = parse_key(idempotency_key)
    items = await in_time(adjust_items(engine, body.shop_id, adjustments, actor=caller.actor, key=key))
    return ItemsOut(items=[ItemOut.of(item) for item in items])


@router.post(
    "/holds/{shopId}/{holdId}/restock",
    summary="Return units that a hold sold (admin)",
    responses=errors(
        Problem.hold_not_found,
        Problem.item_not_found,
        Problem.hold_not_active,
        Problem.restock_above_committed,
        Problem.stock_above_limit,
        Problem.idempotency_conflict,
    )
    | FORBIDDEN
    | WRITE_ERRORS,
    openapi_extra=examples("restock"),
)
async def restock_hold(
    *,
    engine: EngineDep,
    settings: SettingsDep,
    caller: Admin,
    shop_id: ShopPath,
    hold_id: HoldPath,
    body: RestockIn,
    idempotency_key: CorrectionKey = None,
) -> RestockedOut:
    """Return units of a committed hold to stock: the items named, or without `items` all units not returned yet.

    Repeated with the same `Idempotency-Key` it changes nothing. No more units are returned than the hold sold.
    """
    lines = None if body.items is None else merged(body.items)
    key = parse_key(idempotency_key)

    async def work() -> tuple[tuple[Line, ...] | None, Hold | None]:
        returned = await restock(engine, shop_id, hold_id, lines, actor=caller.actor, reason=body.reason, key=key)
        return returned, await read_hold(engine, shop_id, hold_id)

    hold_key = HoldKey(shop_id, hold_id)
    returned, hold = await run_for_caller(settings.request_timeout_ms, work(), hold_key)
    if returned is None or hold is None:
        raise HoldNotFoundError(hold_key)
    return RestockedOut.model_validate(
        HoldOut.of(hold).model_dump() | {"restocked": [LineOut.of(line).model_dump() for line in returned]}
    )
