"""The currencies whose amounts are not counted in hundredths (https://docs.stripe.com/currencies)."""

_WITHOUT_DECIMALS = ("bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv")
_FRANCS_WITHOUT_DECIMALS = ("xaf", "xof", "xpf")
_THREE_DECIMALS = ("bhd", "jod", "kwd", "omr", "tnd")
_WHOLE_UNITS_IN_HUNDREDTHS = ("isk", "ugx")


def decimals(currency: str) -> int:
    """Return how many digits of an amount are behind the point."""
    if currency in _WITHOUT_DECIMALS + _FRANCS_WITHOUT_DECIMALS:
        return 0
    return 3 if currency in _THREE_DECIMALS else 2


def smallest_step(currency: str) -> int:
    """Return the number of which every amount is a multiple."""
    if currency in _THREE_DECIMALS:
        return 10
    return 100 if currency in _WHOLE_UNITS_IN_HUNDREDTHS else 1
