"""What a caller requests, and what it gets."""

import uuid
from dataclasses import dataclass, field
from typing import Literal

from domain.holds import Hold, HoldKey, Line


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """A request to hold stock, validated."""

    shop_id: str
    hold_id: str
    lines: tuple[Line, ...]
    """One for each item, in key order."""
    ttl_seconds: int
    reference: str | None
    replace: bool
    """Whether the hold takes over the units of an active one with the same reference, which ends."""
    request_hash: str
    """Digest of the request; a repeat has the same."""
    actor: str
    browser_extensions: int = 0
    """How often the shopper's browser may extend the hold."""
    named: bool = True
    """Whether the caller chose a hold id, a key or a reference, and so can ask what became of the request."""
    buyer: str | None = None
    metadata: dict[str, str] | None = None
    warn_before_seconds: int | None = None
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Of this call, not of its repeats: it tells which of several callers at once made the hold."""

    @property
    def key(self) -> HoldKey:
        """The key of the hold to make."""
        return HoldKey(self.shop_id, self.hold_id)


@dataclass(frozen=True, slots=True)
class CreateResult:
    """A hold as it is now, and whether this request made it."""

    hold: Hold
    created: bool


@dataclass(frozen=True, slots=True)
class ReleaseResult:
    """A released hold, or an active one whose release continues."""

    hold: Hold
    ending: Literal["release"] | None = None
