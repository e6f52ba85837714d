"""The settings of what one buyer may have in a shop."""

from typing import Annotated

from pydantic import Field

from core.environment_settings import Allowed, EnvironmentSettings
from domain.limits import BuyerLimits

_YEAR_SECONDS = 366 * 86_400
_MOST = 1_000_000_000


class LimitSettings(EnvironmentSettings):
    """Without them, only the limits of items apply."""

    max_active_holds_per_buyer: Annotated[int | None, Allowed("1 or more")] = Field(
        default=None,
        ge=1,
        le=_MOST,
        alias="INVENTORY_MAX_ACTIVE_HOLDS_PER_BUYER",
        description="How many active holds a `buyer` can have in a shop, for API and worker. Unset: any number.",
    )
    max_units_per_buyer: Annotated[int | None, Allowed("1 or more")] = Field(
        default=None,
        ge=1,
        le=_MOST,
        alias="INVENTORY_MAX_UNITS_PER_BUYER",
        description="How many units a `buyer` can have in a shop, over all items, for API and worker: those of active "
        "holds, and those sold within INVENTORY_BUYER_WINDOW_SECONDS less returns. Unset: any number.",
    )
    buyer_window_seconds: int = Field(
        default=86_400,
        ge=0,
        le=_YEAR_SECONDS,
        alias="INVENTORY_BUYER_WINDOW_SECONDS",
        description="For how long sold units count for their `buyer`, here and for the `maxPerBuyer` of an item, in "
        "seconds. 0: only active holds count. Holds that were archived do not count.",
    )

    @property
    def buyer_limits(self) -> BuyerLimits:
        """What one buyer may have in a shop."""
        return BuyerLimits(self.max_active_holds_per_buyer, self.max_units_per_buyer, self.buyer_window_seconds)
