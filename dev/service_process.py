"""The processes that `holdfast up` runs: embedded servers and programs of this repository."""

import http
import http.client
import socket
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Protocol
from urllib.parse import urlsplit

from dev.processes import START_SECONDS, Child, nothing


class ServiceProcess(Protocol):
    """One process of `holdfast up`."""

    @property
    def child(self) -> Child:
        """The process."""

    def launch(self) -> None:
        """Start it, after stopping its earlier process, without waiting until it is ready."""

    def wait_until_ready(self, check_interrupt: Callable[[], None] = nothing) -> None:
        """Wait until it serves; `check_interrupt` may raise to give up. Raises EmbeddedError."""

    def stop(self, seconds: float) -> None:
        """End it, by force after the seconds."""


class Program:
    """A process that is ready when its URL answers 200, or when its `tcp://` URL accepts a connection."""

    def __init__(self, child: Child, url: str) -> None:
        self.child = child
        self._url = url

    def launch(self) -> None:
        """Start it, after stopping its earlier process, without waiting until it is ready."""
        self.child.stop()
        self.child.start()

    def wait_until_ready(self, check_interrupt: Callable[[], None] = nothing) -> None:
        """Wait until it answers 200, a minute at most. Raises EmbeddedError."""
        self.child.wait_until(self._answers, START_SECONDS, check_interrupt)

    def stop(self, seconds: float) -> None:
        """End it, by force after the seconds."""
        self.child.stop(seconds)

    def _answers(self) -> bool:
        if not self._url.startswith("tcp://"):
            return answers(self._url)
        host, _, port = self._url.removeprefix("tcp://").partition(":")
        with suppress(OSError), socket.create_connection((host, int(port)), timeout=5):
            return True
        return False


def answers(url: str) -> bool:
    """Tell whether a GET of the `http://` URL is answered 200 now.

    Not by httpx, which would load the certificates of all authorities for each look: more CPU than the program takes
    that is waited for.
    """
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.netloc, timeout=5)) as connection:
        try:
            connection.request("GET", parts.path)
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
