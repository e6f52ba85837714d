"""What the embedded servers have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from dev.processes import START_SECONDS, STOP_SECONDS, Child, EmbeddedError, nothing


class EmbeddedServer(ABC):
    """A server from a wheel. A subclass launches the process, says when it is ready, and stops it."""

    name: ClassVar[str]
    _child: Child | None = None

    @property
    def child(self) -> Child:
        """The server's process. Raises EmbeddedError before the first start."""
        if self._child is None:
            raise EmbeddedError(f"{self.name} has not been started")
        return self._child

    @property
    def pid(self) -> int:
        """The server's process id. Raises EmbeddedError before the first start."""
        return self.child.pid

    def start(self) -> None:
        """Return when it is ready. Raises EmbeddedError, with a message of one line, if it is not within a minute.

        A server that this object or a killed parent left running on the same folder is stopped first.
        """
        self.launch()
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise

    @abstractmethod
    def launch(self) -> None:
        """Start the process without waiting until it is ready. Raises EmbeddedError."""

    def wait_until_ready(self, check_interrupt: Callable[[], None] = nothing) -> None:
        """Wait a minute at most until it is ready, calling `check_interrupt` repeatedly, which may raise to give up."""
        self.child.wait_until(self._is_ready, START_SECONDS, check_interrupt)

    @abstractmethod
    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """End it; by force when that takes longer than the seconds. May be repeated."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Return whether it serves."""
