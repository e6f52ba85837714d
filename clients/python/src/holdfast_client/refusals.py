"""Answers other than success, as docs/errors.md lists them, and those of whatever stands between here and Holdfast."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from holdfast_client import errors
from holdfast_client.answers import HoldStatus
from holdfast_client.fields import Fields

_PASSES = frozenset({429, 500, 502, 503, 504})
_STAYS = frozenset({"payments_not_configured", "payment_provider_refused"})
"""Of those, what passes only when somebody has mended it."""
_PAYMENTS = _STAYS | {"payment_provider_unavailable"}
_NO_TIME_NAMED = 1.0
_LONGEST_MESSAGE = 500


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no answer, and whether to ask again, not before so many seconds."""

    error: errors.InventoryAuthorityError
    again: bool = False
    after: float = 0.0


def refusal(status: int, retry_after: str | None, read: Callable[[], Fields]) -> Refusal:
    """Say what an answer that is no success means. `retry_after` is the header of that name."""
    try:
        told = read()
        name = told.optional(told.text, "error")
    except errors.MalformedAnswerError as malformed:
        told, name = Fields({"message": str(malformed)}, ""), None  # a proxy's word: its status is all that it says
    after = _seconds(told, retry_after)
    error = _error(status, name, told, after)
    error.hold_id = _text(told, "holdId")
    return Refusal(error, status in _PASSES and name not in _STAYS, after or 0.0)


def _error(status: int, name: str | None, told: Fields, after: float | None) -> errors.InventoryAuthorityError:
    message = _message(status, told)
    error: errors.InventoryAuthorityError
    match status:
        case 401 | 403:
            error = errors.AuthenticationError(message)
        case 429:
            error = errors.InventoryBusyError(message, _NO_TIME_NAMED if after is None else after)
        case 504:
            error = errors.InventoryTimeoutError(message)
        case _ if status >= 500 and name in _PAYMENTS:  # noqa: PLR2004
            error = errors.PaymentsUnavailableError(message)
        case _ if status >= 500:  # noqa: PLR2004
            error = errors.InventoryUnavailableError(message)
        case _ if name is not None and (status, name) in _NAMED:
            try:
                error = _NAMED[status, name](message, told)
            except errors.MalformedAnswerError as malformed:
                error = malformed
        case 409 if name is not None:
            error = errors.ConflictError(message)
        case _ if status == 413 or (name is not None and 400 <= status < 500):  # noqa: PLR2004
            error = errors.InvalidRequestError(message)
        case _:
            error = errors.MalformedAnswerError(f"{message} ({status})")
    return error


def _insufficient(message: str, told: Fields) -> errors.InventoryAuthorityError:
    short = (
        errors.ShortItem(
            item.text("sku"), item.text("variantKey"), item.number("requested", 1), item.number("available")
        )
        for item in told.each("items")
    )
    return errors.InsufficientStockError(message, tuple(short))


def _not_active(message: str, told: Fields) -> errors.InventoryAuthorityError:
    return errors.HoldNotActiveError(message, told.choice("status", HoldStatus))


def _invalid(message: str, told: Fields) -> errors.InventoryAuthorityError:
    fields = (errors.FieldProblem(problem.text("field"), problem.text("message")) for problem in told.each("fields"))
    return errors.InvalidRequestError(message, tuple(fields))


_NAMED: dict[tuple[int, str], Callable[[str, Fields], errors.InventoryAuthorityError]] = {
    (404, "hold_not_found"): lambda message, _: errors.HoldNotFoundError(message),
    (409, "insufficient_stock"): _insufficient,
    (409, "hold_exists"): lambda message, told: errors.HoldExistsError(message, told.text("holdId")),
    (409, "hold_not_active"): _not_active,
    (409, "hold_extend_limit"): lambda message, _: errors.HoldExtendLimitError(message),
    (409, "idempotency_conflict"): lambda message, _: errors.IdempotencyConflictError(message),
    (422, "invalid_request"): _invalid,
    (422, "checkout_refused"): lambda message, _: errors.CheckoutRefusedError(message),
}


def _text(told: Fields, name: str) -> str | None:
    try:
        return told.optional(told.text, name)
    except errors.MalformedAnswerError:
        return None


def _message(status: int, told: Fields) -> str:
    message = _text(told, "message")
    if message is None and _text(told, "status") == "unavailable":  # health says it in its own shape
        try:
            failed = (f"{name}: {_text(check, 'detail')}" for name, check in told.by_name("checks").items())
            message = "Holdfast is unavailable. " + " ".join(failed)
        except errors.MalformedAnswerError:
            message = None
    return (message or f"Holdfast answered {status}.")[:_LONGEST_MESSAGE]


def _seconds(told: Fields, header: str | None) -> float | None:
    """Return the time named, in seconds: the body's milliseconds, which the header has rounded up, or the header's."""
    try:
        return told.number("retryAfter") / 1000
    except errors.MalformedAnswerError:
        pass
    except OverflowError:
        return math.inf
    if header is None:
        return None
    try:
        if header.strip().isdecimal():
            return float(header)
        return max(0.0, (parsedate_to_datetime(header).astimezone(UTC) - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError, TypeError):
        return None
