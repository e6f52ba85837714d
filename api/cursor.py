"""Cursors of paged lists: opaque to callers, checked when they come back."""

import base64
import json
import re
from datetime import datetime

from api.errors import invalid

_ID = re.compile("[0-9]{1,19}")
_LARGEST_ID = 2**63 - 1


def encode(*parts: str | datetime) -> str:
    """Return the cursor of the position after which the next page begins."""
    texts = [part.isoformat() if isinstance(part, datetime) else part for part in parts]
    return base64.urlsafe_b64encode(json.dumps(texts, ensure_ascii=False).encode()).decode().rstrip("=")


def decode(cursor: str | None) -> tuple[str, str] | None:
    """Return the two parts of a cursor. Raises the 422 for a text that is not a cursor."""
    if cursor is None:
        return None
    try:
        parts = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        parts = None
    match parts:
        case [str(first), str(second)] if first.isprintable() and second.isprintable():
            return first, second
    raise invalid("cursor", "must be the nextCursor of a page")


def decode_time(cursor: str | None) -> tuple[datetime, str] | None:
    """Return the two parts of a cursor whose first part is a time."""
    parts = decode(cursor)
    if parts is None:
        return None
    try:
        at = datetime.fromisoformat(parts[0])
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise invalid("cursor", "must be the nextCursor of a page")
    return at, parts[1]


def decode_ids(cursor: str | None) -> tuple[int, int] | None:
    """Return the two parts of a cursor of two row ids."""
    parts = decode(cursor)
    if parts is None:
        return None
    if not all(_ID.fullmatch(part) and int(part) <= _LARGEST_ID for part in parts):
        raise invalid("cursor", "must be the nextCursor of a page")
    return int(parts[0]), int(parts[1])
