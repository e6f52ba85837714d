"""Checks for how long the certificates of the servers are still valid."""

import asyncio
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cli.doctor.postgres_answer import TLS_REQUEST
from cli.doctor.results import CheckResult, fault, ok

NAME = "certificate"
_LEAST_DAYS = 14
_DAY = 86_400
_SECONDS = 3.0


def check_certificate(area: str, certificate: Mapping[str, Any] | None) -> list[CheckResult]:
    """Check when the certificate ends; no result without one, which is not verified then.

    `certificate` is what `ssl.SSLObject.getpeercert` returns.
    """
    if not certificate:
        return []
    ends = ssl.cert_time_to_seconds(certificate["notAfter"])
    days = (ends - time.time()) / _DAY
    found = f"valid until {datetime.fromtimestamp(ends, UTC):%Y-%m-%d %H:%M} UTC, {days:.0f} days"
    if days < _LEAST_DAYS:
        return [fault(area, NAME, found, "renew the server's certificate: after that time nothing connects to it")]
    return [ok(area, NAME, found)]


async def certificate_of_postgres(host: str, port: int, authority: str | None) -> Mapping[str, Any] | None:
    """Return the certificate of a Postgres, verified by this file of authorities; None where it cannot be had."""
    try:
        context = ssl.create_default_context(cafile=authority)
        context.check_hostname = False  # libpq has checked the name, if it was to
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(TLS_REQUEST)
                if await reader.readexactly(1) != b"S":
                    return None
                await writer.start_tls(context)
                return _certificate(writer)
            finally:
                writer.transport.abort()
    except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError):
        return None


async def certificate_of(address: str, context: ssl.SSLContext, name: str) -> Mapping[str, Any] | None:
    """Return the certificate of a TLS server that the context trusts; None where it cannot be had."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=name or host)
    except (OSError, ValueError, TimeoutError):
        return None
    try:
        return _certificate(writer)
    finally:
        writer.transport.abort()


def _certificate(writer: asyncio.StreamWriter) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = writer.get_extra_info("ssl_object").getpeercert()
    return found
