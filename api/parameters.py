"""Parameters that several routes have: path names, the idempotency key, the time to live."""

from typing import Annotated

from fastapi import Header, Path
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
        description="Scoped to the shop. The same key makes one hold, or moves the deadline once, however often it is "
        "sent. With `holdId` it has no effect: that id identifies the request.",
    ),
]
ShopPath = Annotated[ShopId, Path(alias="shopId")]
HoldPath = Annotated[HoldId, Path(alias="holdId")]


def parse_key(key: str | None) -> str | None:
    """Return the idempotency key as text. Raises the 422 for one that is not printable UTF-8."""
    return None if key is None else text_of("Idempotency-Key", key)


def parse_ttl(requested: int | None, settings: Settings) -> int:
    """Return the time to live of a hold in seconds. Raises the 422 outside of what is allowed."""
    ceiling = settings.max_ttl_seconds
    if requested is not None and not MIN_TTL_SECONDS <= requested <= ceiling:
        raise invalid("ttlSeconds", f"must be {MIN_TTL_SECONDS} to {ceiling}")
    return settings.ttl_seconds if requested is None else requested
