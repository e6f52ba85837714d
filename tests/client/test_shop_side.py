"""The client's settings: address, token, time-out, and the shop's own bypass, mode and time to live."""

import logging
import pickle
from pathlib import Path

import pytest

from holdfast_client import (
    AsyncInventoryAuthorityClient,
    CheckoutItem,
    CheckoutSession,
    ConfigurationError,
    Hold,
    InsufficientStockError,
    InvalidRequestError,
    InventoryAuthorityClient,
    Item,
    Mode,
    NotHeld,
    ShortItem,
    Validated,
)
from holdfast_client.settings import Settings
from tests.client.conftest import Connect
from tests.client.faulty_server import HOLD_ID, SHOP, FaultyServer, create_hold, error_json, hold_json, respond

TOKEN = "t" * 40
CART = [Item("TEE", 1)]
PAID_CART = [CheckoutItem(sku="TEE", quantity=1, price="price_1")]
PAID = "https://shop.example/paid"


async def test_the_bypass_answers_without_a_request_and_is_logged(
    connect: Connect, server: FaultyServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SKIP_INVENTORY_VALIDATION", "1")
    server.react(respond(200, hold_json(status="committed")))
    with caplog.at_level(logging.WARNING, "holdfast_client"):
        async with connect(server.url) as client:
            assert await client.validate(SHOP, CART) == Validated(bypassed=True)
            assert await client.create_hold(SHOP, CART) == NotHeld(bypassed=True)
            page = await client.create_checkout_session(SHOP, PAID_CART, success_url=PAID)
            assert page == CheckoutSession(shop_id=SHOP, bypassed=True)
            assert not server.requests
            assert (await client.commit(SHOP, HOLD_ID)).status == "committed"
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 3


async def test_validate_only_validates_and_holds_nothing(
    connect: Connect, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVENTORY_MODE", "validate_only")
    short = {"sku": "TEE", "variantKey": "", "requested": 1, "available": 0}
    async with connect(server.url) as client:
        server.react(respond(200, {"ok": True}))
        assert await client.create_hold(SHOP, CART) == NotHeld(mode=Mode.VALIDATE_ONLY)
        page = await client.create_checkout_session(SHOP, PAID_CART, success_url=PAID)
        assert page == CheckoutSession(shop_id=SHOP, mode=Mode.VALIDATE_ONLY)
        server.react(respond(409, error_json("insufficient_stock", items=[short])))
        with pytest.raises(InsufficientStockError):
            await client.create_hold(SHOP, CART)
    assert {request.target for request in server.requests} == {"/api/inventory/validate"}


async def test_the_stricter_mode_wins(connect: Connect, server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVENTORY_MODE", "reserve_ttl")
    server.react(respond(200, {"holdId": None, "mode": "validate_only", "bypassed": False}))
    async with connect(server.url) as client:
        assert await client.create_hold(SHOP, CART) == NotHeld(mode=Mode.VALIDATE_ONLY)


async def test_the_shops_time_to_live_is_the_default_of_a_hold(
    connect: Connect, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVENTORY_HOLD_TTL_SECONDS", "600")
    server.react(create_hold)
    async with connect(server.url) as client:
        await client.create_hold(SHOP, CART)
        await client.create_hold(SHOP, CART, ttl_seconds=1800)
    assert [request.body["ttlSeconds"] for request in server.requests] == [600, 1800]


async def test_both_clients_read_the_environment(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.react(respond(200, {"ok": True}))
    monkeypatch.setenv("INVENTORY_AUTHORITY_URL", f"{server.url}/api/inventory")
    monkeypatch.setenv("INVENTORY_AUTHORITY_TOKEN", TOKEN)
    async with AsyncInventoryAuthorityClient() as client:
        await client.validate(SHOP, CART)
    InventoryAuthorityClient().close()
    assert server.requests[0].target == "/api/inventory/validate"
    assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://a.example", "https://a.example"),
        ("https://a.example/", "https://a.example"),
        ("https://a.example/api/inventory", "https://a.example"),
        ("https://a.example:8443/api/inventory/", "https://a.example:8443"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("https://a.example/gateway/api/inventory", "https://a.example/gateway"),
    ],
)
def test_the_url_is_the_origin_or_ends_in_the_inventorys_path(url: str, origin: str) -> None:
    assert Settings.read(url, TOKEN, environment={}).origin == origin


def test_arguments_come_before_the_environment() -> None:
    environment = {
        "INVENTORY_AUTHORITY_URL": "https://b.example",
        "INVENTORY_AUTHORITY_TOKEN": f"{TOKEN},the-next",
        "INVENTORY_AUTHORITY_TIMEOUT": "2.5",
    }
    read = Settings.read(environment=environment)
    assert (read.origin, read.token, read.timeout) == ("https://b.example", TOKEN, 2.5)
    given = Settings.read("https://a.example", "mine", 1, environment=environment)
    assert (given.origin, given.token, given.timeout) == ("https://a.example", "mine", 1)
    assert Settings.read("https://a.example", "mine", environment={}).timeout == 5.0
    assert TOKEN not in repr(read)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("INVENTORY_AUTHORITY_URL", url) for url in ("", "a.example", "ftp://a.example", "https://", "http://a:x")),
        ("INVENTORY_AUTHORITY_URL", "https://user:secret@a.example"),
        ("INVENTORY_AUTHORITY_URL", "https://a.example/api/inventory/holds"),
        ("INVENTORY_AUTHORITY_URL", "https://a.example?x=1"),
        ("INVENTORY_AUTHORITY_URL", "https://a.exa mple"),
        *(("INVENTORY_AUTHORITY_TOKEN", token) for token in ("", "two words", "schlüssel")),
        *(("INVENTORY_AUTHORITY_TIMEOUT", seconds) for seconds in ("0", "-1", "soon", "nan", "inf", "5000")),
        ("INVENTORY_MODE", "reserve"),
        *(("INVENTORY_HOLD_TTL_SECONDS", seconds) for seconds in ("29", "86401", "-600", "600.5", "٦٠٠")),
        ("SKIP_INVENTORY_VALIDATION", "perhaps"),
    ],
)
def test_an_invalid_setting_is_rejected_by_name(name: str, value: str) -> None:
    valid = {"INVENTORY_AUTHORITY_URL": "https://a.example", "INVENTORY_AUTHORITY_TOKEN": TOKEN}
    with pytest.raises(ConfigurationError, match=name) as refused:
        Settings.read(environment={**valid, name: value})
    assert "secret" not in str(refused.value)


def test_the_token_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    environment = {"INVENTORY_AUTHORITY_URL": "https://a.example", "INVENTORY_AUTHORITY_TOKEN_FILE": str(file)}
    assert Settings.read(environment=environment).token == TOKEN
    with pytest.raises(ConfigurationError, match="INVENTORY_AUTHORITY_TOKEN_FILE"):
        Settings.read(environment={**environment, "INVENTORY_AUTHORITY_TOKEN": TOKEN})
    for content in (b"", b"\n", b"\xff"):
        file.write_bytes(content)
        with pytest.raises(ConfigurationError, match="INVENTORY_AUTHORITY_TOKEN"):
            Settings.read(environment=environment)
    file.unlink()
    with pytest.raises(ConfigurationError, match="INVENTORY_AUTHORITY_TOKEN_FILE"):
        Settings.read(environment=environment)


async def test_an_id_that_changes_the_path_and_a_key_that_is_no_header_are_not_sent(
    connect: Connect, server: FaultyServer
) -> None:
    async with connect(server.url) as client:
        for hold_id in ("", "../items", "a/b", "a?b", "a\r\nb", "ü", "-a", "a" * 129):
            with pytest.raises(InvalidRequestError) as rejected:
                await client.commit(SHOP, hold_id)
            assert [problem.field for problem in rejected.value.fields] == ["holdId"]
        for key in ("", " ", "a\nb", "k" * 256):
            with pytest.raises(InvalidRequestError) as rejected:
                await client.create_hold(SHOP, CART, idempotency_key=key)
            assert [problem.field for problem in rejected.value.fields] == ["Idempotency-Key"]
        with pytest.raises(InvalidRequestError):
            await client.create_hold(SHOP, [Item("TEE", float("nan"))])  # type: ignore[arg-type]
    assert not server.requests


def test_errors_can_be_pickled() -> None:
    error = InsufficientStockError("Sold out.", (ShortItem("TEE", "", 2, 1),))
    error.hold_id = HOLD_ID
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - its own
    assert (str(copy), copy.items, copy.hold_id) == ("Sold out.", error.items, HOLD_ID)


async def test_the_token_of_a_hold_is_handed_over_but_not_shown_in_logs(connect: Connect, server: FaultyServer) -> None:
    server.react(respond(201, hold_json(holdToken=TOKEN)))
    async with connect(server.url) as client:
        hold = await client.create_hold(SHOP, CART, hold_id=HOLD_ID)
    assert isinstance(hold, Hold)
    assert hold.hold_token == TOKEN
    assert TOKEN not in repr(hold) + repr(CheckoutSession(shop_id=SHOP, hold_token=TOKEN))
