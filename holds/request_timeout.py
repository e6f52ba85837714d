"""No use case takes longer than INVENTORY_REQUEST_TIMEOUT_MS, whatever it waits for."""

import time
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any, TypeVar

from opentelemetry import trace

from core.database import DatabaseUnavailableError
from core.request_context import note_hold
from core.timeouts import run_with_timeout
from domain.holds import HoldKey
from holds.errors import RequestTimeoutError, UnavailableError

Answer = TypeVar("Answer")

caller_arrived: ContextVar[float | None] = ContextVar("caller_arrived", default=None)
"""When the request arrived, by the monotonic clock; None where only the use case itself takes time."""


def remaining_ms(milliseconds: int) -> int:
    """Return how much of the request's time-out is left."""
    arrived = caller_arrived.get()
    return milliseconds if arrived is None else max(1, milliseconds - int((time.monotonic() - arrived) * 1000))


async def run_for_caller(milliseconds: int, work: Coroutine[Any, Any, Answer], key: HoldKey | None = None) -> Answer:
    """Return the result of `work`.

    Raises RequestTimeoutError after the time, and UnavailableError if Postgres or Temporal cannot be reached. Both
    name the hold: the caller asks for it later, since what became of it is unknown. The trace's span and the lines of
    the log name it too.
    """
    if key is not None:
        name_hold_on_span(key)
    try:
        return await run_with_timeout(remaining_ms(milliseconds) / 1000, work)
    except TimeoutError:
        raise RequestTimeoutError(key) from None
    except DatabaseUnavailableError as error:
        raise UnavailableError("Postgres cannot be reached.", key) from error
    except UnavailableError as error:
        error.key = key
        raise


def name_hold_on_span(key: HoldKey) -> None:
    """Set the hold's ids on the current trace span, without tracing on none, and on the request's log lines."""
    note_hold(*key)
    trace.get_current_span().set_attributes({"holdfast.shop_id": key.shop_id, "holdfast.hold_id": key.hold_id})
