"""Extensions of a hold's deadline: what was asked for, and what it came to."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from workflows.messages import Extend


@dataclass
class Extension:
    """An extension that was asked for, and the deadline that it came to once it was taken up."""

    asked: Extend
    deadline: datetime | None = None


@dataclass
class Extensions:
    """All extensions of one hold, in the order in which they were heard."""

    heard: list[Extension] = field(default_factory=list)

    def with_key(self, key: str | None) -> Extension | None:
        """Return the extension that was asked for with this idempotency key."""
        return next((e for e in self.heard if key is not None and e.asked.key == key), None)

    def hear(self, message: Extend) -> Extension:
        """Note what is asked for; a repeat is the one that was asked for before."""
        extension = self.with_key(message.key)
        if extension is None:
            extension = Extension(message)
            self.heard.append(extension)
        return extension

    def take_up(self, deadline: datetime, ceiling: datetime) -> datetime:
        """Return the deadline moved by all that was asked for and not taken up yet, at most to the ceiling."""
        for extension in self.heard:
            if extension.deadline is None:
                extension.deadline = deadline = moved(deadline, extension.asked.ttl_seconds, ceiling)
        return deadline

    def would_gain(self, message: Extend, deadline: datetime, ceiling: datetime) -> bool:
        """Tell whether the message moves the deadline at all, after those that wait to be taken up."""
        waiting = sum(e.asked.ttl_seconds for e in self.heard if e.deadline is None)
        return moved(deadline, waiting + message.ttl_seconds, ceiling) > moved(deadline, waiting, ceiling)


def moved(deadline: datetime, seconds: int, ceiling: datetime) -> datetime:
    """Return the deadline moved by that much, at most to the ceiling, and never back."""
    return max(deadline, min(deadline + timedelta(seconds=seconds), ceiling))
