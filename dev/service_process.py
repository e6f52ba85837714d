"""What `holdfast up` runs: one of the servers from wheels, or one of our own programs."""

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import httpx

from dev.processes import START_SECONDS, Child


class Member(Protocol):
    """One of the processes."""

    @property
    def child(self) -> Child:
        """The process."""

    def launch(self) -> None:
        """Begin to start it, after its earlier process was stopped."""

    def wait_until_ready(self, heed: Callable[[], None]) -> None:
        """Wait until it serves; `heed` may raise to give up."""

    def stop(self, seconds: float) -> None:
        """End it, by force after the seconds."""


class Program:
    """A process of ours that answers 200 at a URL when it is ready; of a `tcp://` URL, that can be connected to."""

    def __init__(self, child: Child, url: str) -> None:
        self.child = child
        self._url = url

    def launch(self) -> None:
        """Begin to start it, after its earlier process was stopped."""
        self.child.stop()
        self.child.start()

    def wait_until_ready(self, heed: Callable[[], None]) -> None:
        """Wait until it answers 200, a minute at most. Raises EmbeddedError."""
        self.child.wait_until(self._answers, START_SECONDS, heed)

    def stop(self, seconds: float) -> None:
        """End it, by force after the seconds."""
        self.child.stop(seconds)

    def _answers(self) -> bool:
        if self._url.startswith("tcp://"):
            host, _, port = self._url.removeprefix("tcp://").partition(":")
            with suppress(OSError), socket.create_connection((host, int(port)), timeout=5):
                return True
            return False
        try:
            return httpx.get(self._url, timeout=5, trust_env=False).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False
