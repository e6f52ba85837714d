"""The end of each certificate that is used is known, by a handshake with whoever shows it."""

import asyncio
import re
import shutil
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from activities.certificate_watch import CertificateWatch
from core.metrics import Telemetry
from core.settings import Settings
from tests.tls import Authority, Certificate, tls_before

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates") / "authority")


@pytest.fixture(scope="module")
def server(authority: Authority) -> Certificate:
    return authority.issue("server", "DNS:somebody-else.example")


@asynccontextmanager
async def mail_server(context: ssl.SSLContext | None) -> AsyncIterator[int]:
    """A mail server that offers STARTTLS, if it has a certificate."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220-mail.example\r\n220 ready\r\n")
        await reader.readline()
        writer.write(b"250-mail.example\r\n" + (b"250-STARTTLS\r\n" if context else b"") + b"250 SIZE\r\n")
        if context and await reader.readline() == b"STARTTLS\r\n":
            writer.write(b"220 go ahead\r\n")
            await writer.start_tls(context)
        await reader.read()
        writer.transport.abort()

    serving = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with serving:
        yield serving.sockets[0].getsockname()[1]


def ends_of(certificate: Path) -> float:
    return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc.timestamp()


def told(registry: CollectorRegistry) -> Iterator[tuple[str, float]]:
    for family in registry.collect():
        for sample in family.samples:
            if sample.name == "inventory_certificate_expiry_timestamp_seconds":
                yield sample.labels["endpoint"], sample.value


async def test_each_server_and_each_certificate_of_ours_is_told_with_its_end(
    authority: Authority, server: Certificate
) -> None:
    context = authority.context(server)
    client = authority.issue("client", "DNS:holdfast")
    registry = CollectorRegistry()
    async with (
        tls_before(1, context, postgres=True) as postgres,
        tls_before(1, context) as temporal,
        mail_server(context) as mail,
        tls_before(1, context) as public,
    ):
        settings = Settings.read(
            {
                "DATABASE_URL": f"postgresql://ann@127.0.0.1:{postgres}/shop?sslmode=require&sslcert={client.cert}",
                "SMTP_URL": f"smtp://127.0.0.1:{mail}",
            }
        )
        environment = {
            "TEMPORAL_ADDRESS": f"127.0.0.1:{temporal}",
            "TEMPORAL_TLS_CLIENT_CERT_PATH": str(client.cert),
            "TEMPORAL_TLS_CLIENT_KEY_PATH": str(client.key),
            "INVENTORY_AUTHORITY_URL": f"https://127.0.0.1:{public}",
        }
        await CertificateWatch(settings, Telemetry(registry), environment).read()
    found = dict(told(registry))
    assert found == {
        **dict.fromkeys(("postgres", "temporal", "smtp", "public"), ends_of(server.cert)),
        **dict.fromkeys(("postgres-client", "temporal-client"), ends_of(client.cert)),
    }
    assert all(0 < ends - datetime.now(UTC).timestamp() < 90_000 for ends in found.values())  # issued for a day


async def test_a_server_without_tls_is_nothing_and_one_that_is_down_is_told_once() -> None:
    registry = CollectorRegistry()
    async with mail_server(None) as mail:
        settings = Settings.read(
            {"DATABASE_URL": "postgresql://ann@127.0.0.1:1/shop", "SMTP_URL": f"smtp://127.0.0.1:{mail}"}
        )
        watch = CertificateWatch(settings, Telemetry(registry), {})
        with capture_logs() as logged:
            await watch.read()
            await watch.read()
    assert dict(told(registry)) == {}
    assert [line["endpoint"] for line in logged] == ["postgres"]


_V3, _V2 = bytes.fromhex("a003020102"), bytes.fromhex("a003020101")


def _of_version_2(der: bytes) -> bytes:
    return der.replace(_V3, _V2, 1)


def _of_a_time_that_is_none(der: bytes) -> bytes:
    return re.sub(rb"(\d{12})Z", rb"\1X", der)


@pytest.mark.parametrize("spoil", [_of_version_2, _of_a_time_that_is_none])
async def test_a_certificate_that_cannot_be_parsed_hides_no_other(
    authority: Authority, server: Certificate, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    der = ssl.PEM_cert_to_DER_cert(server.cert.read_text())
    assert spoil(der) != der
    spoilt = Certificate(tmp_path / "spoilt.crt", server.key)
    spoilt.cert.write_text(ssl.DER_cert_to_PEM_cert(spoil(der)))
    registry = CollectorRegistry()
    async with mail_server(authority.context(spoilt)) as mail, tls_before(1, authority.context(server)) as public:
        settings = Settings.read(
            {"DATABASE_URL": "postgresql:///shop?host=/tmp", "SMTP_URL": f"smtp://127.0.0.1:{mail}"}
        )
        watch = CertificateWatch(
            settings, Telemetry(registry), {"INVENTORY_AUTHORITY_URL": f"https://127.0.0.1:{public}"}
        )
        with capture_logs() as logged:
            await watch.read()
    assert [line["endpoint"] for line in logged] == ["smtp"]
    assert dict(told(registry)) == {"public": ends_of(server.cert)}
