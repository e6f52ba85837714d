"""Checks the parameters that a request passes on to Stripe: by name, and as far as a value could harm the hold."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from api.errors import invalid
from payments.events import RESERVED_METADATA
from payments.session_options import PAYMENT_INTENT, SESSION, UI_MODES, Parameters

_DEEPEST = 8
_MOST_VALUES = 1000
_LONGEST_TEXT = 5000
_LONGEST_NAME = 200
_LARGEST_NUMBER = 2**53
# A bracket in a name would make it another parameter in the form that Stripe reads.
_NAME = re.compile(rf"[^\[\]\x00-\x1f\x7f]{{1,{_LONGEST_NAME}}}")
_UNREADABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_CURRENCY = re.compile(r"[A-Za-z]{3}")


def checked_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters to pass on. Raises the 422 that names the first one which cannot be, and why."""
    options = {name: value for name, value in given.items() if (name, value) != ("mode", "payment")}
    check_values("stripe", options)
    check_names("stripe", options, SESSION)
    intent = options.get("payment_intent_data", {})
    if not isinstance(intent, dict):
        raise invalid("stripe.payment_intent_data", "must be an object")
    check_names("stripe.payment_intent_data", intent, PAYMENT_INTENT)
    if (mode := options.get("ui_mode", UI_MODES[0])) not in UI_MODES:
        raise invalid("stripe.ui_mode", f"must be one of {', '.join(UI_MODES)}, and is {str(mode)[:40]!r}")
    return options


def check_names(field: str, given: Mapping[str, Any], known: Parameters) -> None:
    """Raise the 422 for a parameter that cannot be passed on."""
    for name in given:
        if (reason := known.reason(name)) is not None:
            raise invalid(f"{field}.{name}"[:_LONGEST_NAME], reason)


def check_values(field: str, given: Mapping[str, Any]) -> None:
    """Raise the 422 for a value that no form can have, and for metadata that name another hold."""
    for count, (path, value) in enumerate(_values(field, given, 1)):
        if count >= _MOST_VALUES:
            raise invalid(field, f"must have at most {_MOST_VALUES} values")
        if (problem := _problem(value)) is not None:
            raise invalid(path, problem)


def option_currencies(options: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    """Yield each currency that the parameters name: its field, the currency, and the amount in it (0 without one)."""
    if "currency" in options:
        yield "stripe.currency", _currency("stripe.currency", options["currency"]), 0
    shipping = options.get("shipping_options", [])
    for place, option in enumerate(shipping if isinstance(shipping, list) else []):
        field = f"stripe.shipping_options[{place}].shipping_rate_data.fixed_amount"
        amount = option
        for name in ("shipping_rate_data", "fixed_amount"):
            amount = amount.get(name, {}) if isinstance(amount, dict) else {}
        if isinstance(amount, dict) and "currency" in amount:
            number = amount.get("amount")
            if not isinstance(number, int) or isinstance(number, bool) or number < 0:
                raise invalid(f"{field}.amount", "must be a whole number, at least 0")
            yield f"{field}.currency", _currency(f"{field}.currency", amount["currency"]), number


def _currency(field: str, value: object) -> str:
    if not isinstance(value, str) or _CURRENCY.fullmatch(value) is None:
        raise invalid(field, "must be three letters")
    return value.lower()


def _values(path: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - JSON
    """Yield every object, list and value of a JSON value with its path."""
    if depth > _DEEPEST:
        raise invalid(path, f"must be at most {_DEEPEST} levels deep")
    yield path, value
    if isinstance(value, dict):
        for name, each in value.items():
            if _NAME.fullmatch(name) is None or _UNREADABLE.search(name):
                raise invalid(path, f"must have names of 1 to {_LONGEST_NAME} characters without '[' and ']'")
            yield from _values(f"{path}.{name}", each, depth + 1)
        if path.endswith("metadata") and (reserved := RESERVED_METADATA & value.keys()):
            raise invalid(path, f"must leave {', '.join(sorted(reserved))} to Holdfast")
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from _values(f"{path}[{place}]", each, depth + 1)


def _problem(value: object) -> str | None:
    match value:
        case None:
            return "must not be null; leave it out"
        case str() if len(value) > _LONGEST_TEXT:
            return f"must be at most {_LONGEST_TEXT} characters long"
        case str() if _UNREADABLE.search(value):
            return "must have no control characters but tabs and line breaks"
        case int() if abs(value) > _LARGEST_NUMBER:
            return "must be a smaller number"
        case float() if not math.isfinite(value):
            return "must be a finite number"
    return None
