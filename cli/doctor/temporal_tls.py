"""Finds out why Temporal's library, which reports only text, could not connect: by a TLS handshake of its own."""

import asyncio
import ssl
import tempfile
from pathlib import Path

from temporalio.envconfig import ClientConnectConfig
from temporalio.service import TLSConfig

START = "start Temporal, or correct TEMPORAL_ADDRESS, TEMPORAL_TLS… and TEMPORAL_API_KEY"
HANGS = "it accepts connections and does not answer: see its process, its log and its database; restart it if it hangs"
SERVER_NAME = "set TEMPORAL_TLS_SERVER_NAME, or TEMPORAL_ADDRESS, to a name in the server's certificate"
SERVER_CA = "set TEMPORAL_TLS_SERVER_CA_CERT_PATH to the certificate of the authority that signed the server's"
EXPIRED = "renew the server's certificate"
KEY_PAIR = "TEMPORAL_TLS_CLIENT_KEY_PATH is not the key of TEMPORAL_TLS_CLIENT_CERT_PATH: set a pair"
NO_TLS = "the server does not speak TLS: remove TEMPORAL_TLS… and TEMPORAL_API_KEY"
TLS_REQUIRED = "the server requires TLS: set TEMPORAL_TLS=true, and TEMPORAL_TLS_SERVER_CA_CERT_PATH for a private CA"
CLIENT_CERTIFICATE = (
    "the server rejects the client's certificate, or requires one: set TEMPORAL_TLS_CLIENT_CERT_PATH and "
    "TEMPORAL_TLS_CLIENT_KEY_PATH to a pair that it trusts"
)
_SECONDS = 3.0
_VERIFY_FIXES = {10: EXPIRED, 62: SERVER_NAME, 64: SERVER_NAME}
"""By OpenSSL's verification code: certificate expired, host name mismatch, IP address mismatch."""


async def fix_connection(config: ClientConnectConfig) -> str:
    """Return how to fix a connection that Temporal's library could not make with this configuration."""
    host, _, port = config.get("target_host", "").rpartition(":")
    tls = config.get("tls")
    name = (tls.domain if isinstance(tls, TLSConfig) else None) or host
    try:
        context = _context(tls if isinstance(tls, TLSConfig) else None, verify=bool(tls))
    except ssl.SSLError as error:
        return KEY_PAIR if error.reason == "KEY_VALUES_MISMATCH" else CLIENT_CERTIFICATE
    try:
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=name)
    except ssl.SSLCertVerificationError as error:
        return _VERIFY_FIXES.get(error.verify_code, SERVER_CA)
    except TimeoutError:
        return await _fix_silence(host, port)
    except (OSError, ValueError) as error:
        refused = isinstance(error, (ssl.SSLError, ConnectionResetError))
        return NO_TLS if tls and refused else START
    try:
        return await _fix_after_handshake(reader) if tls else TLS_REQUIRED
    finally:
        writer.transport.abort()


async def _fix_silence(host: str, port: str) -> str:
    """Distinguish an address that nobody listens on from a server that hangs."""
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(host, int(port))
    except (OSError, TimeoutError):
        return START
    writer.transport.abort()
    return HANGS


async def _fix_after_handshake(reader: asyncio.StreamReader) -> str:
    """Distinguish by the server's first message: in TLS 1.3 it rejects a client's certificate after the handshake."""
    try:
        async with asyncio.timeout(_SECONDS):
            return START if await reader.read(1) else CLIENT_CERTIFICATE
    except (OSError, TimeoutError):
        return CLIENT_CERTIFICATE


def _context(tls: TLSConfig | None, *, verify: bool) -> ssl.SSLContext:
    authority = tls.server_root_ca_cert.decode() if tls and tls.server_root_ca_cert else None
    context = ssl.create_default_context(cadata=authority)
    context.set_alpn_protocols(["h2"])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls and tls.client_cert and tls.client_private_key:
        with tempfile.TemporaryDirectory() as folder:  # ssl reads certificates from files only
            pair = Path(folder, "client.pem")
            pair.touch(mode=0o600)
            pair.write_bytes(tls.client_private_key + b"\n" + tls.client_cert)
            context.load_cert_chain(pair)
    return context
