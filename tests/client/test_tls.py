"""TLS: the client rejects a server without a trusted certificate, and keeps its time-out."""

import shutil
from pathlib import Path

import pytest

from holdfast_client import InventoryTimeoutError, InventoryUnavailableError, Item, Validated
from tests.client.conftest import Connect
from tests.client.faulty_server import SHOP, faulty_server, respond, send_slowly
from tests.tls import Authority

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")

CART = [Item("TEE", 1)]


async def test_only_a_server_with_a_trusted_certificate_gets_a_request(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path / "authority")
    async with faulty_server(authority.context(authority.issue("holdfast", "IP:127.0.0.1"))) as server:
        server.react(respond(200, {"ok": True}))
        async with connect(server.url, seconds=0.5) as client:
            with pytest.raises(InventoryUnavailableError):
                await client.validate(SHOP, CART)
        assert not server.requests
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
        async with connect(server.url) as client:
            assert await client.validate(SHOP, CART) == Validated()
        server.react(send_slowly(b"HTTP/1.1 200 OK\r\n" + b"X-Filler: x\r\n" * 1000, 0.1))
        async with connect(server.url, seconds=0.5) as client:
            with pytest.raises(InventoryTimeoutError):
                await client.validate(SHOP, CART)
