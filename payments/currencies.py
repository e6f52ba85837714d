"""The amounts that each currency has at Stripe: https://docs.stripe.com/currencies."""

THREE_DECIMAL = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
"""An amount counts thousandths, of which Stripe takes only whole tens."""
WHOLE_UNITS = frozenset({"isk", "ugx"})
"""An amount counts hundredths, though the currency has none: Stripe takes only whole units."""


def smallest_step(currency: str) -> int:
    """Return the number of which every amount that Stripe takes is a multiple."""
    if currency in THREE_DECIMAL:
        return 10
    return 100 if currency in WHOLE_UNITS else 1
