"""TLS for tests: certificates made by openssl, and a gateway that takes TLS off in front of a real server.

The Postgres of the wheel is built without TLS, and Temporal's development server has none: here as in many a
production, something before them speaks it.
"""

import asyncio
import os
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import certifi
import stripe

_EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
_REQUEST_GSS = (8).to_bytes(4, "big") + (80877104).to_bytes(4, "big")
"""With which a Postgres client may ask for the encryption of GSSAPI before it asks for TLS."""


def trust_one_authority(folder: Path) -> None:
    """Let this process and those that it starts trust one public authority: no test calls a public host.

    To load all of them takes a client longer than a hold takes.
    """
    end = "-----END CERTIFICATE-----\n"
    one = folder / "one-authority.pem"
    one.write_text(Path(certifi.where()).read_text().partition(end)[0] + end)
    os.environ["SSL_CERT_FILE"] = stripe.ca_bundle_path = str(one)


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, as PEM files."""

    cert: Path
    key: Path


class Authority:
    """Whoever trusts `ca` trusts what this one issued."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._own = Certificate(folder / "ca.crt", folder / "ca.key")
        _openssl("req", "-x509", *_EC, "-days", "60", "-subj", "/CN=ca", "-keyout", self._own.key, "-out", self.ca)

    @property
    def ca(self) -> Path:
        """Its own certificate."""
        return self._own.cert

    def issue(self, name: str, alternatives: str, days: int = 1) -> Certificate:
        """Return a certificate for that name; `alternatives` are like `IP:127.0.0.1,DNS:example.com`."""
        made = Certificate(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        request, extension = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        extension.write_text(f"subjectAltName={alternatives}\n")
        _openssl("req", *_EC, "-subj", f"/CN={name}", "-keyout", made.key, "-out", request)
        signing: list[str | Path] = [
            "-CA",
            self.ca,
            "-CAkey",
            self._own.key,
            "-CAcreateserial",
            "-days",
            str(days),
            "-extfile",
            extension,
        ]
        _openssl("x509", "-req", "-in", request, *signing, "-out", made.cert)
        made.key.chmod(0o600)  # libpq uses no key that others may read
        return made

    def context(self, server: Certificate, *, mutual: bool = False) -> ssl.SSLContext:
        """Return a server's side of TLS; `mutual`: it wants a certificate of this authority from its clients."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(server.cert, server.key)
        context.set_alpn_protocols(["h2", "postgresql"])
        if mutual:
            context.load_verify_locations(self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@asynccontextmanager
async def tls_before(port: int, context: ssl.SSLContext, *, postgres: bool = False) -> AsyncIterator[int]:
    """Take TLS off before the server at the port of 127.0.0.1; yields the port to come to instead.

    With `postgres`, TLS begins once the client has asked for it, as Postgres has it.
    """
    under_way: set[asyncio.Task[None]] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            if postgres:
                while await reader.readexactly(8) == _REQUEST_GSS:
                    writer.write(b"N")
                writer.write(b"S")
                await writer.start_tls(context)
            onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(onward_writer)
            await asyncio.gather(_copy(reader, onward_writer), _copy(onward_reader, writer))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # a client that was refused or has gone
        finally:
            for each in writers:
                each.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(pass_on(reader, writer))
        under_way.add(task)
        task.add_done_callback(under_way.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=None if postgres else context)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in list(under_way):
            task.cancel()
        await asyncio.gather(*under_way)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while some := await reader.read(65_536):
            writer.write(some)
            await writer.drain()
    finally:
        writer.close()


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
