"""The shop of `holdfast smoke`: what happens in it is no business."""

SMOKE_SHOP = "holdfast-smoke"
"""Reserved: real stock must not use this id."""


def is_smoke(shop_id: object) -> bool:
    """Whether the shop is the smoke test's: left out of counters, gauges, reports and the time of Stripe's events."""
    return shop_id == SMOKE_SHOP
