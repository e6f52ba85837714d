"""Ctrl-C and SIGTERM as a fact to ask for, so that no child is lost between its start and our knowing of it."""

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Self

_SAME_PRESS_SECONDS = 0.3
"""A terminal and `make` may both pass one Ctrl-C on."""


class StopRequestedError(Exception):
    """The person at the terminal, or whoever started us, wants an end."""


class Interrupt:
    """While entered, SIGINT, SIGTERM and SIGHUP are only counted."""

    def __init__(self) -> None:
        self._presses = 0
        self._last = float("-inf")
        self._pressed = threading.Event()
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._previous[number] = signal.signal(number, self._record)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def heed(self) -> None:
        """Raise StopRequestedError once an end is wanted."""
        if self._presses:
            raise StopRequestedError

    def wait(self, seconds: float) -> None:
        """Wait, and raise StopRequestedError as soon as an end is wanted."""
        self._pressed.wait(seconds)
        self.heed()

    @property
    def insisted(self) -> bool:
        """Whether an end was asked for more than once."""
        return self._presses > 1

    def _record(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._last > _SAME_PRESS_SECONDS:
            self._presses += 1
            self._last = now
        self._pressed.set()
