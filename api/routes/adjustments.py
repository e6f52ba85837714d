"""Corrections of stock: by a difference, and by what comes back of a sold hold."""

from typing import Annotated

from fastapi import APIRouter, Header, Path, Request
from pydantic import StringConstraints

from api.auth import Admin, KnownCallersRoute
from api.dependencies import resources_of
from api.errors import ApiError, invalid
from api.headers import text_of
from api.openapi import FORBIDDEN, WRITE_ERRORS, errors, examples
from api.problems import Problem
from api.requests import HoldId, ShopId, merged
from api.responses import ItemOut, ItemsOut
from api.stock_requests import AdjustmentsIn, RestockIn, require_named_once
from api.stock_responses import BelowZeroOut, NameOut, TooManyOut
from core.timeouts import run_with_timeout
from domain.holds import Hold, Line
from holds.hold_json import HoldOut, LineOut
from inventory.adjustments import (
    AboveLimitError,
    Adjustment,
    KeyUsedError,
    StockBelowZeroError,
    UnknownItemsError,
    adjust_items,
)
from inventory.holds import read_hold
from inventory.returns import AboveCommittedError, NotCommittedError, restock

router = APIRouter(prefix="/api/inventory", tags=["stock"], route_class=KnownCallersRoute)

CorrectionKey = Annotated[
    Annotated[str, StringConstraints(min_length=1, max_length=255)] | None,
    Header(
        alias="Idempotency-Key",
        description="Counts within the shop, over adjustments and restocks. The same key corrects once, however often "
        "it is sent; without one, each request is a correction of its own.",
    ),
]


class RestockedOut(HoldOut):
    """The hold, and all that has come back of it by now."""

    restocked: list[LineOut]


@router.post(
    "/adjustments",
    summary="Correct stock by a difference (admin)",
    responses=errors(
        Problem.item_not_found, Problem.stock_below_zero, Problem.stock_above_limit, Problem.idempotency_conflict
    )
    | FORBIDDEN
    | WRITE_ERRORS,
    openapi_extra=examples("adjustments"),
)
async def adjust(
    request: Request, caller: Admin, body: AdjustmentsIn, idempotency_key: CorrectionKey = None
) -> ItemsOut:
    """Change what is on hand of each item named by its difference, all or none. What is held stays held.

    Repeated with the same `Idempotency-Key` it answers the same items again and changes nothing.
    """
    require_named_once("adjustments", body.adjustments)
    for index, each in enumerate(body.adjustments):
        if each.delta == 0:
            raise invalid(f"adjustments[{index}].delta", "must not be 0")
    adjustments = [Adjustment(each.sku, each.variant_key, each.delta, each.reason) for each in body.adjustments]
    context = resources_of(request)
    key = _checked(idempotency_key)
    try:
        items = await run_with_timeout(
            context.settings.request_timeout_ms / 1000,
            adjust_items(context.engine, body.shop_id, adjustments, actor=caller.actor, key=key),
        )
    except (UnknownItemsError, AboveLimitError, KeyUsedError) as error:
        raise _refusal(error) from error
    except StockBelowZeroError as error:
        raise ApiError(
            Problem.stock_below_zero, items=[BelowZeroOut.of(item).dump() for item in error.items]
        ) from error
    return ItemsOut(items=[ItemOut.of(item) for item in items])


@router.post(
    "/holds/{shopId}/{holdId}/restock",
    summary="Take back what a hold sold (admin)",
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
    request: Request,
    caller: Admin,
    shop_id: Annotated[ShopId, Path(alias="shopId")],
    hold_id: Annotated[HoldId, Path(alias="holdId")],
    body: RestockIn,
    idempotency_key: CorrectionKey = None,
) -> RestockedOut:
    """Put units of a committed hold on hand again: the items named, or all that have not come back yet.

    Repeated with the same `Idempotency-Key` it changes nothing. Whatever is sent, no more comes back than was sold.
    """
    context = resources_of(request)
    lines = None if body.items is None else merged(body.items)
    key = _checked(idempotency_key)

    async def work() -> tuple[tuple[Line, ...] | None, Hold | None]:
        back = await restock(context.engine, shop_id, hold_id, lines, actor=caller.actor, reason=body.reason, key=key)
        return back, await read_hold(context.engine, shop_id, hold_id)

    try:
        back, hold = await run_with_timeout(context.settings.request_timeout_ms / 1000, work())
    except NotCommittedError as error:
        message = f"The hold is {error.status}: nothing of it was sold."
        raise ApiError(Problem.hold_not_active, message, holdId=hold_id, status=error.status) from error
    except AboveCommittedError as error:
        items = [TooManyOut.of(item).dump() for item in error.items]
        raise ApiError(Problem.restock_above_committed, items=items) from error
    except (UnknownItemsError, AboveLimitError, KeyUsedError) as error:
        raise _refusal(error) from error
    if back is None or hold is None:
        raise ApiError(Problem.hold_not_found)
    return RestockedOut.model_validate(
        HoldOut.of(hold).model_dump() | {"restocked": [LineOut.of(line).model_dump() for line in back]}
    )


def _checked(key: str | None) -> str | None:
    return None if key is None else text_of("Idempotency-Key", key)


def _refusal(error: UnknownItemsError | AboveLimitError | KeyUsedError) -> ApiError:
    match error:
        case UnknownItemsError():
            return ApiError(Problem.item_not_found, items=[NameOut.of(item).dump() for item in error.items])
        case AboveLimitError():
            return ApiError(Problem.stock_above_limit, items=[NameOut.of(item).dump() for item in error.items])
        case KeyUsedError():
            return ApiError(Problem.idempotency_conflict)
