"""Tells Prometheus when the certificates end that servers show to us, and ours."""

import asyncio
from collections.abc import Mapping

import structlog

from core.certificates import CertificateUnreadableError, endpoints, own_certificates
from core.metrics import Telemetry
from core.settings import Settings

INTERVAL_SECONDS = 3600.0


class CertificateWatch:
    """Reads them, and logs each that cannot be read once, until it can."""

    def __init__(self, settings: Settings, telemetry: Telemetry, environment: Mapping[str, str] | None = None) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._environment = environment
        self._unreadable: set[str] = set()

    async def run(self) -> None:
        """Read them every hour until cancelled. Every process of a worker does: each reads a few bytes."""
        while True:
            try:
                await self.read()
            except Exception as error:  # noqa: BLE001 - whatever is wrong, it looks again
                self._cannot_read("all", error)
            await asyncio.sleep(INTERVAL_SECONDS)

    async def read(self) -> None:
        """Read each once."""
        for endpoint in endpoints(self._settings, self._environment):
            try:
                ends = await endpoint.ends()
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one, the others are read
                self._cannot_read(endpoint.name, error)
                continue
            self._can_read(endpoint.name)
            if ends is not None:
                self._telemetry.certificate_ends.labels(endpoint.name).set(ends.timestamp())
        try:
            own = own_certificates(self._settings, self._environment)
        except CertificateUnreadableError as error:
            self._cannot_read("own", error)
            return
        self._can_read("own")
        for name, ends in own.items():
            self._telemetry.certificate_ends.labels(name).set(ends.timestamp())

    def _cannot_read(self, name: str, error: Exception) -> None:
        if name not in self._unreadable:
            self._unreadable.add(name)
            structlog.get_logger("worker").warning(
                "a certificate cannot be read; its end is not watched", endpoint=name, problem=str(error)
            )

    def _can_read(self, name: str) -> None:
        if name in self._unreadable:
            self._unreadable.remove(name)
            structlog.get_logger("worker").info("a certificate can be read again", endpoint=name)
