"""What one order and one buyer may have at most, and which of these limits a request would pass."""

from dataclasses import dataclass
from typing import Literal

LimitName = Literal["maxPerOrder", "maxPerBuyer", "maxUnitsPerBuyer", "maxActiveHoldsPerBuyer"]


@dataclass(frozen=True)
class ExceededLimit:
    """A limit that the request would pass: of an item, or of all that a buyer has in the shop."""

    limit: LimitName
    most: int
    has: int
    """What the buyer has already: units, of `maxActiveHoldsPerBuyer` holds."""
    requested: int
    sku: str | None = None
    """None where the limit is the shop's."""
    variant_key: str | None = None


@dataclass(frozen=True)
class BuyerLimits:
    """What one buyer may have in a shop, None for no limit; sold units count for `window_seconds`."""

    active_holds: int | None = None
    units: int | None = None
    window_seconds: int = 86_400
