"""Takes the values of parameters out of what Stripe says about them."""

import re
from collections.abc import Iterator
from typing import Any

_SHORTEST = 3
_TOKEN = re.compile(r"[A-Za-z0-9_-]+")
"""An id or one of Stripe's words, which say what is wrong; names and addresses are in `payment_intent_data`."""


def redacted(text: str, params: dict[str, Any]) -> str:
    """Return the text with `[…]` in the place of each value of the parameters."""
    hidden = {value for name, each in params.items() for value in _values(each, anything=name == "payment_intent_data")}
    for value in sorted(hidden, key=len, reverse=True):
        text = re.sub(re.escape(value), "[…]", text, flags=re.IGNORECASE)
    return text


def _values(value: object, *, anything: bool) -> Iterator[str]:
    if isinstance(value, dict):
        for name, each in value.items():
            if name != "metadata":
                yield from _values(each, anything=anything)
    elif isinstance(value, list):
        for each in value:
            yield from _values(each, anything=anything)
    elif isinstance(value, str) and len(value) >= _SHORTEST and (anything or not _TOKEN.fullmatch(value)):
        yield value
