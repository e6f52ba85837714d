"""When the certificates end that the servers we use show, and those that we show them.

Read by a TLS handshake that verifies nothing, so that a certificate that has ended, or is not trusted, is read too.
"""

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from psycopg.conninfo import conninfo_to_dict
from temporalio.service import TLSConfig

from core.alert_settings import mail_port
from core.settings import Settings
from core.temporal import connect_config

_SECONDS = 10.0
REQUEST_TLS = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
"""With which a client of Postgres asks for TLS."""
_LONGEST_ANSWER = 100
"""Lines of one answer of a mail server."""

Asks = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]
"""Asks a server for TLS; False where it does not speak it."""


class CertificateUnreadableError(Exception):
    """The server could not be reached, or its certificate not be read. The message says why."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that is asked for its certificate."""

    name: str
    host: str
    port: int
    server_name: str
    ask: Asks | None = None
    """How TLS begins; None: with the first byte."""
    protocol: str | None = None

    async def ends(self) -> datetime | None:
        """Return when its certificate ends; None where it does not speak TLS. Raises CertificateUnreadableError."""
        context = unverified_context()
        if self.protocol:
            context.set_alpn_protocols([self.protocol])
        try:
            async with asyncio.timeout(_SECONDS):
                der = await self._certificate(context)
            return None if der is None else x509.load_der_x509_certificate(der).not_valid_after_utc
        except (OSError, TimeoutError, EOFError, ValueError, x509.InvalidVersion) as error:
            raise CertificateUnreadableError(f"{self.host}:{self.port}: {error or type(error).__name__}") from error

    async def _certificate(self, context: ssl.SSLContext) -> bytes | None:
        at_once = self.ask is None
        reader, writer = await asyncio.open_connection(
            self.host,
            self.port,
            ssl=context if at_once else None,
            server_hostname=self.server_name if at_once else None,
        )
        try:
            if self.ask is not None:
                if not await self.ask(reader, writer):
                    return None
                await writer.start_tls(context, server_hostname=self.server_name)
            shown: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            return shown
        finally:
            writer.transport.abort()


def unverified_context() -> ssl.SSLContext:
    """Return the context of a handshake that verifies nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def endpoints(settings: Settings, environment: Mapping[str, str] | None = None) -> Iterator[Endpoint]:
    """Yield each server that the settings lead to by TLS, or may: Postgres and a mail server tell when asked."""
    variables = os.environ if environment is None else environment
    yield from _postgres(settings)
    config = connect_config(settings.temporal_api_key, variables)
    if tls := config.get("tls"):
        host, _, port = config.get("target_host", "").rpartition(":")
        host = host.strip("[]")
        name = (tls.domain if isinstance(tls, TLSConfig) else None) or host
        yield Endpoint("temporal", host, int(port), name, protocol="h2")
    mail = urlsplit(settings.smtp_url.get_secret_value())
    if mail.hostname:
        ask = None if mail.scheme == "smtps" else _ask_mail_server
        yield Endpoint("smtp", mail.hostname, mail_port(mail), mail.hostname, ask)
    for name, url in (
        ("public", variables.get("INVENTORY_AUTHORITY_URL", "")),
        ("hold-events", settings.events_url),
        ("stock-alerts", settings.alert_url),
    ):
        parts = urlsplit(url.strip())
        if parts.scheme == "https" and parts.hostname:
            yield Endpoint(name, parts.hostname, parts.port or 443, parts.hostname)


def _postgres(settings: Settings) -> Iterator[Endpoint]:
    given = conninfo_to_dict(settings.database_url.get_secret_value())
    named = given.get("host") or given.get("hostaddr")
    if named is None or given.get("sslmode") == "disable":
        return
    hosts, ports = str(named).split(","), str(given.get("port") or "5432").split(",")
    for number, host in enumerate(hosts):
        if not host.startswith(("/", "@")):  # a socket of this machine
            port = ports[number] if len(ports) == len(hosts) else ports[0]
            direct = given.get("sslnegotiation") == "direct"
            name = "postgres" if len(hosts) == 1 else f"postgres-{number + 1}"
            yield Endpoint(name, host, int(port), host, None if direct else _ask_postgres, "postgresql")


def own_certificates(settings: Settings, environment: Mapping[str, str] | None = None) -> Mapping[str, datetime]:
    """Return when the certificates end that we show to Temporal and Postgres. Raises CertificateUnreadableError."""
    shown: dict[str, bytes] = {}
    try:
        tls = connect_config(settings.temporal_api_key, environment).get("tls")
        if isinstance(tls, TLSConfig) and tls.client_cert:
            shown["temporal-client"] = tls.client_cert
        if file := conninfo_to_dict(settings.database_url.get_secret_value()).get("sslcert"):
            shown["postgres-client"] = Path(str(file)).read_bytes()
        return {name: x509.load_pem_x509_certificate(pem).not_valid_after_utc for name, pem in shown.items()}
    except (OSError, ValueError, x509.InvalidVersion) as error:
        raise CertificateUnreadableError(f"a certificate of ours: {error}") from error


async def _ask_postgres(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    writer.write(REQUEST_TLS)
    return await reader.readexactly(1) == b"S"


async def _ask_mail_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    await _answer(reader)
    writer.write(b"EHLO holdfast\r\n")
    if not any(line[4:].strip().upper() == b"STARTTLS" for line in await _answer(reader)):
        return False
    writer.write(b"STARTTLS\r\n")
    return (await _answer(reader))[-1].startswith(b"220")


async def _answer(reader: asyncio.StreamReader) -> list[bytes]:
    lines = [await reader.readline()]
    while lines[-1][3:4] == b"-" and len(lines) < _LONGEST_ANSWER:
        lines.append(await reader.readline())
    if not lines[-1]:
        raise EOFError
    return lines
