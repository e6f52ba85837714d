"""Orders: one story of everything that happened to an order, and its events once more."""

from typing import Annotated

from fastapi import APIRouter, Path

from api.auth import Admin, Authority, KnownCallersRoute
from api.dependencies import OrdersDep
from api.openapi import FORBIDDEN, READ_ERRORS, errors
from api.parameters import ShopPath
from api.problems import Problem
from api.requests import Reference
from holds.order_json import OrderOut, ResentOut

router = APIRouter(prefix="/api/inventory/orders", tags=["orders"], route_class=KnownCallersRoute)

_NOT_FOUND = errors(Problem.order_not_found)
ReferencePath = Annotated[Reference, Path(description="The `reference` of the order's holds.")]


@router.get("/{shopId}/{reference:path}", summary="Tell an order's whole story", responses=_NOT_FOUND | READ_ERRORS)
async def get_order(_caller: Authority, shop_id: ShopPath, reference: ReferencePath, orders: OrdersDep) -> OrderOut:
    """Read the order's holds in order of time, replaced and archived ones too, each with its changes.

    Beside them: its payments with their attempts, its late payments with their state, and the deliveries of its events.
    Messages, late payments and deliveries are known for as long as Temporal keeps their workflows.
    """
    return OrderOut.of(await orders.story(shop_id, reference))


@router.post(
    "/{shopId}/{reference:path}/resend",
    summary="Deliver an order's events again",
    responses=_NOT_FOUND | FORBIDDEN | READ_ERRORS,
)
async def resend_order(_caller: Admin, shop_id: ShopPath, reference: ReferencePath, orders: OrdersDep) -> ResentOut:
    """Send the order's events once more, each with the id that it had: a receiver that stores ids ignores them.

    Events that are still on their way are not sent twice.
    """
    return ResentOut(resent=await orders.resend(shop_id, reference))
