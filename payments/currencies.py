"""How amounts are written in each currency: https://docs.stripe.com/currencies."""

ZERO_DECIMAL = frozenset(
    "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split()  # noqa: SIM905 - as a table is read
)
"""An amount counts whole units."""
THREE_DECIMAL = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
"""An amount counts thousandths, of which Stripe takes only whole tens."""
WHOLE_UNITS = frozenset({"isk", "ugx"})
"""An amount counts hundredths, though the currency has none: Stripe takes only whole units."""


def decimals(currency: str) -> int:
    """Return how many digits of an amount are behind the point."""
    if currency in ZERO_DECIMAL:
        return 0
    return 3 if currency in THREE_DECIMAL else 2


def smallest_step(currency: str) -> int:
    """Return the number of which every amount that Stripe takes is a multiple."""
    if currency in THREE_DECIMAL:
        return 10
    return 100 if currency in WHOLE_UNITS else 1
