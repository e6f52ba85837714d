"""Tells Prometheus when the certificates end that servers show to us, and ours."""

import asyncio
from collections.abc import Mapping

from core.certificates import CertificateUnreadableError, endpoints, own_certificates
from core.metrics import Telemetry
from core.outage_log import OutageLog
from core.settings import Settings

INTERVAL_SECONDS = 3600.0


class CertificateWatch:
    """Reads them, and logs each that cannot be read once, until it can."""

    def __init__(self, settings: Settings, telemetry: Telemetry, environment: Mapping[str, str] | None = None) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._environment = environment
        self._outages: dict[str, OutageLog] = {}

    async def run(self) -> None:
        """Read them every hour until cancelled. Every process of a worker does: each reads a few bytes."""
        outage = self._outage("all")
        while True:
            try:
                await self.read()
            except Exception as error:  # noqa: BLE001 - whatever is wrong, it looks again
                outage.failed(error)
            else:
                outage.worked()
            await asyncio.sleep(INTERVAL_SECONDS)

    async def read(self) -> None:
        """Read each once."""
        for endpoint in endpoints(self._settings, self._environment):
            outage = self._outage(endpoint.name)
            try:
                ends = await endpoint.ends()
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one, the others are read
                outage.failed(error)
                continue
            outage.worked()
            if ends is not None:
                self._telemetry.certificate_ends.labels(endpoint.name).set(ends.timestamp())
        outage = self._outage("own")
        try:
            own = own_certificates(self._settings, self._environment)
        except CertificateUnreadableError as error:
            outage.failed(error)
            return
        outage.worked()
        for name, ends in own.items():
            self._telemetry.certificate_ends.labels(name).set(ends.timestamp())

    def _outage(self, endpoint: str) -> OutageLog:
        new = OutageLog(
            "worker",
            fails="a certificate cannot be read; its end is not watched",
            works="a certificate can be read again",
            endpoint=endpoint,
        )
        return self._outages.setdefault(endpoint, new)
