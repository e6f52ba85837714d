"""A change of an active hold, and the outcomes of making it. Messages as those of `domain/holds.py`."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from domain.holds import Busy, Line, OverLimit, ReferenceTaken, Shortage


@dataclass(frozen=True)
class AmendRequest:
    """A change of an active hold. What is None stays as it is."""

    shop_id: str
    hold_id: str
    request_id: str
    """Of the caller's request: the change is made once, however often the statement runs."""
    request_hash: str
    actor: str
    lines: tuple[Line, ...] | None = None
    """The whole new set."""
    reference: str | None = None
    buyer: str | None = None
    expires_at: datetime | None = None
    """The new deadline, if it is later than the row's."""
    closed_session: str | None = None
    """The page to pay on that was closed for this change; only recorded."""


@dataclass(frozen=True)
class Amended:
    """The hold as it is after the change, which this request or an earlier one with its id has made."""

    lines: tuple[Line, ...]
    expires_at: datetime
    reference: str | None = None
    buyer: str | None = None
    changed: bool = field(default=True, compare=False)
    """Whether this request made the change, and not an earlier one with its id."""
    kind: Literal["amended"] = "amended"


@dataclass(frozen=True)
class NotActive:
    """The hold has ended, or its row is gone; nothing was changed."""

    kind: Literal["not_active"] = "not_active"


@dataclass(frozen=True)
class KeyReused:
    """An earlier amendment of the hold, with another content, has the request's id; nothing was changed."""

    kind: Literal["key_reused"] = "key_reused"


AmendOutcome = Annotated[
    Amended | Shortage | ReferenceTaken | OverLimit | Busy | NotActive | KeyReused, Field(discriminator="kind")
]
