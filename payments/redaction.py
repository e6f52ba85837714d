"""Takes the values of parameters out of what Stripe says about them."""

import re
from collections.abc import Iterator
from typing import Any

_SHORTEST = 3
_ID = re.compile(r"(acct|coupon|cus|pm|pmc|prod|price|promo|shr|txcd|txr)_\w+")
"""Of an object of Stripe's, which is no name of anybody."""
_WORDS = {
    *("allowed_countries", "allowed_payment_method_types", "billing_address_collection", "capture_method", "currency"),
    *("customer_creation", "excluded_payment_method_types", "liability_type", "locale", "mode", "promotions"),
    *("redirect_on_completion", "setup_future_usage", "submit_type", "tax_behavior", "terms_of_service", "type"),
    *("ui_mode", "unit"),
}
"""Parameters whose values are words of Stripe's; any other value may be somebody's name or address."""


def redacted(text: str, params: dict[str, Any]) -> str:
    """Return the text with `[…]` in the place of each value of the parameters."""
    hidden = set(_values(params))
    for value in sorted(hidden, key=len, reverse=True):
        text = re.sub(re.escape(value), "[…]", text, flags=re.IGNORECASE)
    return text


def _values(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, each in value.items():
            if name != "metadata" and name not in _WORDS:
                yield from _values(each)
    elif isinstance(value, list):
        for each in value:
            yield from _values(each)
    elif isinstance(value, str) and len(value) >= _SHORTEST and not _ID.fullmatch(value):
        yield value
