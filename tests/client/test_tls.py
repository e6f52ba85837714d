"""Over TLS the client believes who has a certificate that it trusts, and keeps its time."""

import shutil
import time
from pathlib import Path

import pytest

from holdfast_client import InventoryTimeoutError, InventoryUnavailableError, Item, Validated
from tests.client.conftest import Connect
from tests.client.faulty_server import SHOP, drips, lying, says
from tests.tls import Authority

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")

CART = [Item("TEE", 1)]


async def test_a_trusted_certificate_is_needed_and_the_deadline_holds_there_too(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path / "authority")
    async with lying(authority.context(authority.issue("holdfast", "IP:127.0.0.1"))) as liar:
        liar.will(says(200, {"ok": True}))
        async with connect(liar.url, seconds=0.5) as stranger:
            with pytest.raises(InventoryUnavailableError, match="certificate"):
                await stranger.validate(SHOP, CART)
        assert not liar.asked
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
        async with connect(liar.url, seconds=0.5) as client:
            assert await client.validate(SHOP, CART) == Validated()
            liar.will(drips(b"HTTP/1.1 200 OK\r\n" + b"X-Filler: x\r\n" * 1000, 0.1))
            began = time.monotonic()
            with pytest.raises(InventoryTimeoutError):
                await client.validate(SHOP, CART)
            assert time.monotonic() - began < 1.5
