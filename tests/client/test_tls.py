"""Over TLS the client believes who has a certificate that it trusts, and keeps its time."""

import shutil
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from holdfast_client import InventoryTimeoutError, InventoryUnavailableError, Item, Validated
from tests.client.conftest import Connect
from tests.client.liar import SHOP, drips, lying, says

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")

CART = [Item("TEE", 1)]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of this machine's loopback address, and its key, in one file."""
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    named = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*made, *named, "-keyout", file, "-out", f"{file}.crt"], check=True, capture_output=True)
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return file


async def test_a_trusted_certificate_is_needed_and_the_deadline_holds_there_too(
    connect: Connect, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with lying(context) as liar:
        liar.will(says(200, {"ok": True}))
        async with connect(liar.url, seconds=0.5) as stranger:
            with pytest.raises(InventoryUnavailableError, match="certificate"):
                await stranger.validate(SHOP, CART)
        assert not liar.asked
        monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
        async with connect(liar.url, seconds=0.5) as client:
            assert await client.validate(SHOP, CART) == Validated()
            liar.will(drips(b"HTTP/1.1 200 OK\r\n" + b"X-Filler: x\r\n" * 1000, 0.1))
            began = time.monotonic()
            with pytest.raises(InventoryTimeoutError):
                await client.validate(SHOP, CART)
            assert time.monotonic() - began < 1.5
