"""The processes that `holdfast up` runs: embedded servers and programs of this repository."""

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import httpx

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
        if self._url.startswith("tcp://"):
            host, _, port = self._url.removeprefix("tcp://").partition(":")
            with suppress(OSError), socket.create_connection((host, int(port)), timeout=5):
                return True
            return False
        try:
            return httpx.get(self._url, timeout=5, trust_env=False).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False
