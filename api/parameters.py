"""Parameters that several routes have: path names, the idempotency key, the time to live. None may be sent twice."""

from collections import Counter
from typing import Annotated

from fastapi import Header, Path, Request
from fastapi.exceptions import RequestValidationError
from pydantic import StringConstraints

from api.errors import invalid
from api.headers import text_of
from api.requests import HoldId
from core.settings import MIN_TTL_SECONDS, Settings
from domain.fields import MAX_KEY_LENGTH, ShopId

KeyText = Annotated[str, StringConstraints(min_length=1, max_length=MAX_KEY_LENGTH)]
"""An idempotency key as its header has it; `parse_key` decodes it."""
IdempotencyKey = Annotated[
    KeyText | None,
    Header(
        alias="Idempotency-Key",
        description="Scoped to the shop. The same key makes one hold, change or page, or moves the deadline once, "
        "however often it is sent. With a `holdId` in the body it has no effect: that id identifies the request.",
    ),
]
ShopPath = Annotated[ShopId, Path(alias="shopId")]
HoldPath = Annotated[HoldId, Path(alias="holdId")]

_READ_HEADERS = {name.lower().encode(): name for name in ("Authorization", "Idempotency-Key", "X-Actor")}
"""The headers that routes read, by their raw names."""


async def refuse_repeated(request: Request) -> None:
    """Raise the 422 for query parameters and headers that are sent more than once: one value would be ignored."""
    sent = [("header", _READ_HEADERS[name]) for name, _ in request.headers.raw if name in _READ_HEADERS]
    if request.scope["query_string"]:
        sent += [("query", name) for name, _ in request.query_params.multi_items()]
    if len(sent) == len(set(sent)):
        return
    repeated = [place for place, count in Counter(sent).items() if count > 1]
    message = "must be sent at most once"
    raise RequestValidationError([{"type": "repeated", "loc": place, "msg": message} for place in repeated])


def parse_key(key: str | None) -> str | None:
    """Return the idempotency key as text. Raises the 422 for one that is not printable UTF-8."""
    return None if key is None else text_of("Idempotency-Key", key)


def parse_warning(requested: int | None, ttl_seconds: int) -> int | None:
    """Return how long before the deadline to warn. Raises the 422 for a warning that would come at once."""
    if requested is not None and requested >= ttl_seconds:
        raise invalid("warnBeforeSeconds", f"must be less than ttlSeconds, which is {ttl_seconds}")
    return requested


def parse_ttl(requested: int | None, settings: Settings) -> int:
    """Return the time to live of a hold in seconds. Raises the 422 outside of what is allowed."""
    ceiling = settings.max_ttl_seconds
    if requested is not None and not MIN_TTL_SECONDS <= requested <= ceiling:
        raise invalid("ttlSeconds", f"must be {MIN_TTL_SECONDS} to {ceiling}")
    return settings.ttl_seconds if requested is None else requested
