"""SIGINT and SIGTERM as a flag to poll, so that no signal arrives between a child's start and its registration."""

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Self

_SAME_PRESS_SECONDS = 0.3
"""Terminal and `make` may both deliver one Ctrl-C: signals this close together count once."""


class StopRequestedError(Exception):
    """SIGINT, SIGTERM or SIGHUP was received."""


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

    def check_interrupt(self) -> None:
        """Raise StopRequestedError if a signal was received."""
        if self._presses:
            raise StopRequestedError

    def wait(self, seconds: float) -> None:
        """Wait, and raise StopRequestedError as soon as a signal is received."""
        self._pressed.wait(seconds)
        self.check_interrupt()

    @property
    def insisted(self) -> bool:
        """Whether more than one signal was received."""
        return self._presses > 1

    def _record(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._last > _SAME_PRESS_SECONDS:
            self._presses += 1
            self._last = now
        self._pressed.set()
