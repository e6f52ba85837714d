"""Extensions of a hold's deadline: each request, and the deadline that it led to."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from workflows.messages import Extend


@dataclass
class Extension:
    """A request to extend, and the deadline that it led to once it was applied."""

    request: Extend
    deadline: datetime | None = None


@dataclass
class Extensions:
    """All extensions of one hold, in the order of their arrival."""

    requests: list[Extension] = field(default_factory=list)
    browser_extended: int = 0
    """How often the shopper's browser has extended the hold in runs that are lost."""

    def with_key(self, key: str | None) -> Extension | None:
        """Return the extension with this idempotency key."""
        return next((e for e in self.requests if key is not None and e.request.key == key), None)

    def has_room(self, message: Extend) -> bool:
        """Return whether a request by the shopper's browser is within the number that the hold allows."""
        return message.browser_limit is None or self.by_browser < message.browser_limit

    @property
    def by_browser(self) -> int:
        """How often the shopper's browser has extended the hold."""
        return self.browser_extended + sum(e.request.browser_limit is not None for e in self.requests)

    def record(self, message: Extend) -> Extension:
        """Record a request; a repeat with the same key returns the first extension."""
        extension = self.with_key(message.key)
        if extension is None:
            extension = Extension(message)
            self.requests.append(extension)
        return extension

    @property
    def are_waiting(self) -> bool:
        """Whether a request waits to be applied."""
        return any(extension.deadline is None for extension in self.requests)

    @property
    def _waiting_seconds(self) -> int:
        return sum(e.request.ttl_seconds for e in self.requests if e.deadline is None)

    def moved_by_waiting(self, deadline: datetime, ceiling: datetime) -> datetime:
        """Return the deadline moved by all requests that wait to be applied, at most to the ceiling."""
        return moved(deadline, self._waiting_seconds, ceiling)

    def apply(self, deadline: datetime, ceiling: datetime) -> datetime:
        """Return the deadline moved by all requests that were not applied yet, at most to the ceiling."""
        for extension in self.requests:
            if extension.deadline is None:
                extension.deadline = deadline = moved(deadline, extension.request.ttl_seconds, ceiling)
        return deadline

    def would_gain(self, message: Extend, deadline: datetime, ceiling: datetime) -> bool:
        """Return whether the message moves the deadline, after the requests that wait to be applied."""
        waiting = self._waiting_seconds
        return moved(deadline, waiting + message.ttl_seconds, ceiling) > moved(deadline, waiting, ceiling)


def moved(deadline: datetime, seconds: int, ceiling: datetime) -> datetime:
    """Return the deadline moved by that much, at most to the ceiling, and never back."""
    return max(deadline, min(deadline + timedelta(seconds=seconds), ceiling))
