"""Stripe's clock, which a test can move."""

import time


class Clock:
    """Counts whole seconds since 1970, as Stripe's API does."""

    def __init__(self) -> None:
        self.offset = 0.0

    def now(self) -> int:
        """Return the time by this clock."""
        return int(time.time() + self.offset)

    def advance(self, seconds: float) -> None:
        """Move forward, or back where negative."""
        self.offset += seconds

    def reset(self) -> None:
        """Go by the machine's time again."""
        self.offset = 0.0
