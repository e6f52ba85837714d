"""INVENTORY_MODE=validate_only: a request to hold is only compared with the stock, and counted as a validation."""

from core.metrics import Telemetry
from domain.holds import Hold
from holds.errors import InsufficientStockError
from holds.model import HoldRequest
from holds.service import HoldService


async def validate_only(holds: HoldService, telemetry: Telemetry, request: HoldRequest) -> Hold | None:
    """Return the hold that this id made before, in the other mode; None if the cart can be bought.

    Raises as HoldService.create.
    """
    try:
        hold = await holds.validate(request)
    except InsufficientStockError:
        telemetry.validated(ok=False, shop_id=request.shop_id)
        raise
    if hold is None:
        telemetry.validated(ok=True, shop_id=request.shop_id)
    return hold
