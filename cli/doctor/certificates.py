"""Checks for how long the certificates are still valid that servers show to us, and ours."""

import asyncio
from datetime import UTC, datetime, timedelta

from cli.doctor.results import CheckResult, fault, ok
from cli.doctor.settings import Environment
from core.certificates import CertificateUnreadableError, Endpoint, endpoints, own_certificates
from core.setting_errors import SettingsError

AREA = "certificates"
_LEAST = timedelta(days=14)
"""As in the alert HoldfastCertificateEnds."""
_SAID_BETTER = {"temporal": ("temporal: reachable",), "postgres": ("database: reachable",)}


async def check_certificates(environment: Environment) -> list[CheckResult]:
    """Return a result for each certificate that can be read. What cannot be reached is a fault of other checks."""
    try:
        servers = list(endpoints(environment.settings, environment.variables)) if environment.database_known else []
        own = own_certificates(environment.settings, environment.variables)
    except (CertificateUnreadableError, SettingsError):  # the settings are a fault of other checks
        return []
    found = await asyncio.gather(*(_end_of(server) for server in servers))
    ends = {server.name: end for server, end in zip(servers, found, strict=True) if end is not None} | dict(own)
    return [check_certificate(name, end) for name, end in ends.items()]


def check_certificate(name: str, end: datetime) -> CheckResult:
    """Check when the certificate ends."""
    left = end - datetime.now(UTC)
    found = f"valid until {end:%Y-%m-%d %H:%M} UTC, {left / timedelta(days=1):.0f} days"
    if left >= _LEAST:
        return ok(AREA, name, found)
    fix = "renew it and restart who shows it: once it has ended, nothing connects"
    return fault(AREA, name, found, fix, _SAID_BETTER.get(name, ()))


async def _end_of(server: Endpoint) -> datetime | None:
    try:
        return await server.ends()
    except CertificateUnreadableError:
        return None
