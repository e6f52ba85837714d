"""Cursors of paged lists: opaque to callers, checked when they come back."""

import base64
import json
import re
from datetime import datetime

from api.errors import ApiError, invalid

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
    match _parts(cursor):
        case [first, second]:
            return first, second
    raise _invalid()


def _parts(cursor: str) -> list[str]:
    """Return the parts of a cursor, none if it is not one."""
    try:
        parts = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        parts = None
    if not isinstance(parts, list):
        return []
    return parts if all(isinstance(part, str) and part.isprintable() for part in parts) else []


def _invalid() -> ApiError:
    return invalid("cursor", "must be the nextCursor of a page")


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
        raise _invalid()
    return at, parts[1]


def decode_ids(cursor: str | None) -> tuple[int, ...] | None:
    """Return the parts of a cursor of three row ids; one of an earlier release has two."""
    if cursor is None:
        return None
    parts = _parts(cursor)
    if len(parts) not in (2, 3) or not all(_ID.fullmatch(part) and int(part) <= _LARGEST_ID for part in parts):
        raise _invalid()
    return tuple(map(int, parts))
