"""Reads error answers (docs/errors.md) and decides whether a call is repeated."""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from holdfast_client import errors
from holdfast_client.answers import Json, field, objects, optional, parse
from holdfast_client.models import ExceededLimit, FieldProblem, HoldStatus, ShortItem

_TEMPORARY = {408, 429, 500, 502, 503, 504}
_PAYMENTS_PERMANENT = {"payments_not_configured", "payment_provider_refused"}  # until an operator acts
_PAYMENTS = {*_PAYMENTS_PERMANENT, "payment_provider_unavailable"}
_FIRST_PAUSE, _MAX_PAUSE = 0.1, 2.0  # seconds
_MAX_MESSAGE = 500  # characters


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt without a successful answer. `retry_after` is the least number of seconds before a repeat."""

    error: errors.InventoryAuthorityError
    temporary: bool = False
    retry_after: float = 0.0


def pause_before_repeat(failure: Failure, attempt: int, *, seconds_taken: float, seconds_left: float) -> float | None:
    """Return the seconds to wait before the next attempt, or None if the call ends with this failure.

    `attempt` counts from 0, `seconds_taken` is the length of the last attempt, `seconds_left` until the time-out.
    """
    if not failure.temporary:
        return None
    backoff = min(_FIRST_PAUSE * 2**attempt, _MAX_PAUSE)
    pause = failure.retry_after + backoff * random.uniform(0.5, 1)  # noqa: S311 - spreads clients that failed together
    # A repeat that the time-out cuts off would replace a definite failure by an unknown outcome.
    return pause if pause + seconds_taken < seconds_left else None


def connection_failure(origin: str, error: Exception) -> Failure:
    """Return the failure of an attempt whose connection broke before the answer was complete."""
    message = f"No answer from {origin}: {str(error) or type(error).__name__}."
    return Failure(errors.InventoryUnavailableError(message), temporary=True)


def error_answer(status: int, headers: Mapping[str, str], body: bytes | bytearray) -> Failure:
    """Return what an answer other than success means, also one of a proxy in front of Holdfast."""
    try:
        data = parse(body)
    except errors.MalformedAnswerError:
        data = {}
    name = data["error"] if isinstance(data.get("error"), str) else ""
    message = str(data.get("message") or f"{status} {body[:_MAX_MESSAGE].decode(errors='replace')}")[:_MAX_MESSAGE]
    retry_after = _retry_after(headers.get("Retry-After"), data)
    try:
        error = _error(status, name, message, data)
    except errors.MalformedAnswerError as malformed:
        error = malformed
    if isinstance(error, errors.InventoryBusyError) and retry_after is not None:
        error.retry_after = retry_after
    another_holds = isinstance(error, (errors.HoldExistsError, errors.PaymentInProgressError))
    if not another_holds and isinstance(data.get("holdId"), str):
        error.hold_id = data["holdId"]
    return Failure(error, status in _TEMPORARY and name not in _PAYMENTS_PERMANENT, retry_after or 0.0)


def _error(  # noqa: C901, PLR0911, PLR0912 - one case for each error
    status: int, name: str, message: str, data: Json
) -> errors.InventoryAuthorityError:
    match status, name:
        case 401 | 403, _:
            return errors.AuthenticationError(message)
        case 404, "hold_not_found":
            return errors.HoldNotFoundError(message)
        case 409, "insufficient_stock":
            return errors.InsufficientStockError(message, _short_items(data))
        case 409, "hold_exists":
            return errors.HoldExistsError(message, field(data, "holdId", str))
        case 409, "payment_in_progress":
            return errors.PaymentInProgressError(message, field(data, "holdId", str))
        case 409, "hold_not_active":
            return errors.HoldNotActiveError(message, field(data, "status", HoldStatus))
        case 409, "payment_not_made":
            return errors.PaymentNotMadeError(message, optional(data, "paymentState", str) or "")
        case 409, "payment_open":
            return errors.PaymentOpenError(message)
        case 409, "limit_exceeded":
            return errors.LimitExceededError(message, _limits(data))
        case 409, "hold_extend_limit":
            return errors.HoldExtendLimitError(message)
        case 409, "idempotency_conflict":
            return errors.IdempotencyConflictError(message)
        case 409, str() if name:
            return errors.ConflictError(message)
        case 422, "invalid_request":
            return errors.InvalidRequestError(message, _field_problems(data))
        case 422, "checkout_refused":
            return errors.CheckoutRefusedError(message)
        case 429, _:
            return errors.InventoryBusyError(message)
        case 504, _:
            return errors.InventoryTimeoutError(message)
        case _ if status >= 500 and name in _PAYMENTS:  # noqa: PLR2004
            return errors.PaymentsUnavailableError(message)
        case _ if status == 408 or status >= 500:  # noqa: PLR2004
            return errors.InventoryUnavailableError(message)
        case _ if status == 413 or (status >= 400 and name):  # noqa: PLR2004
            return errors.InvalidRequestError(message)
        case _:
            return errors.MalformedAnswerError(f"Not an answer of Holdfast: {message}")


def _short_items(data: Json) -> tuple[ShortItem, ...]:
    return tuple(
        ShortItem(
            field(item, "sku", str),
            field(item, "variantKey", str),
            field(item, "requested", int),
            field(item, "available", int),
            optional(item, "reason", str) or "insufficient",  # a server before 0.2 sends none
        )
        for item in objects(data, "items")
    )


def _limits(data: Json) -> tuple[ExceededLimit, ...]:
    return tuple(
        ExceededLimit(
            field(limit, "limit", str),
            field(limit, "most", int),
            field(limit, "has", int),
            field(limit, "requested", int),
            optional(limit, "sku", str),
            optional(limit, "variantKey", str),
        )
        for limit in objects(data, "limits")
    )


def _field_problems(data: Json) -> tuple[FieldProblem, ...]:
    return tuple(
        FieldProblem(field(item, "field", str), field(item, "message", str)) for item in objects(data, "fields")
    )


def _retry_after(header: str | None, data: Json) -> float | None:
    """Return seconds: of the body's milliseconds, else of the header, which is rounded up or set by a proxy."""
    try:
        milliseconds = data.get("retryAfter")
        if isinstance(milliseconds, int) and not isinstance(milliseconds, bool):
            return max(0.0, milliseconds / 1000)
        if header is None or header.strip().isdecimal():
            return None if header is None else float(header)
        date = parsedate_to_datetime(header)
        if date.tzinfo is None:  # the zone is -0000, which is UTC
            date = date.replace(tzinfo=UTC)
        return max(0.0, (date - datetime.now(UTC)).total_seconds())
    except OverflowError:
        return math.inf
    except (ValueError, TypeError):
        return None
