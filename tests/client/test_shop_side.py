"""What the shop has set for its own side: the bypass, the mode, the time to live, where Holdfast is."""

import logging
import pickle
from pathlib import Path

import pytest

from holdfast_client import (
    AsyncInventoryAuthorityClient,
    CheckoutItem,
    CheckoutSession,
    ConfigurationError,
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
from tests.client.faulty_server import HOLD_ID, SHOP, Liar, a_hold, a_refusal, holds, says

TOKEN = "t" * 40
CART = [Item("TEE", 1)]
PAID_CART = [CheckoutItem(sku="TEE", quantity=1, price="price_1")]
PAID = "https://shop.example/paid"


async def test_the_bypass_answers_without_a_call_and_is_logged(
    connect: Connect, liar: Liar, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SKIP_INVENTORY_VALIDATION", "1")
    liar.will(says(200, a_hold(status="committed")))
    with caplog.at_level(logging.WARNING, "holdfast_client"):
        async with connect(liar.url) as client:
            assert await client.validate(SHOP, CART) == Validated(bypassed=True)
            assert await client.create_hold(SHOP, CART) == NotHeld(bypassed=True)
            page = await client.create_checkout_session(SHOP, PAID_CART, success_url=PAID)
            assert page == CheckoutSession(shop_id=SHOP, bypassed=True)
            assert not liar.asked
            assert (await client.commit(SHOP, HOLD_ID)).status == "committed"
    assert len([line for line in caplog.messages if "SKIP_INVENTORY_VALIDATION" in line]) == 3


async def test_validate_only_looks_and_holds_nothing(
    connect: Connect, liar: Liar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVENTORY_MODE", "validate_only")
    short = {"sku": "TEE", "variantKey": "", "requested": 1, "available": 0}
    async with connect(liar.url) as client:
        liar.will(says(200, {"ok": True}))
        assert await client.create_hold(SHOP, CART) == NotHeld(mode=Mode.VALIDATE_ONLY)
        page = await client.create_checkout_session(SHOP, PAID_CART, success_url=PAID)
        assert page == CheckoutSession(shop_id=SHOP, mode=Mode.VALIDATE_ONLY)
        liar.will(says(409, a_refusal("insufficient_stock", items=[short])))
        with pytest.raises(InsufficientStockError):
            await client.create_hold(SHOP, CART)
    assert {asked.target for asked in liar.asked} == {"/api/inventory/validate"}


async def test_the_stricter_mode_wins(connect: Connect, liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVENTORY_MODE", "reserve_ttl")
    liar.will(says(200, {"holdId": None, "mode": "validate_only", "bypassed": False}))
    async with connect(liar.url) as client:
        assert await client.create_hold(SHOP, CART) == NotHeld(mode=Mode.VALIDATE_ONLY)


async def test_the_shops_time_to_live_is_the_default_of_a_hold(
    connect: Connect, liar: Liar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVENTORY_HOLD_TTL_SECONDS", "600")
    liar.will(holds)
    async with connect(liar.url) as client:
        await client.create_hold(SHOP, CART)
        await client.create_hold(SHOP, CART, ttl_seconds=1800)
    assert [asked.body["ttlSeconds"] for asked in liar.asked] == [600, 1800]


async def test_both_clients_find_holdfast_in_the_environment(liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    liar.will(says(200, {"ok": True}))
    monkeypatch.setenv("INVENTORY_AUTHORITY_URL", f"{liar.url}/api/inventory")
    monkeypatch.setenv("INVENTORY_AUTHORITY_TOKEN", TOKEN)
    async with AsyncInventoryAuthorityClient() as client:
        await client.validate(SHOP, CART)
    InventoryAuthorityClient().close()
    assert liar.asked[0].target == "/api/inventory/validate"
    assert liar.asked[0].headers["authorization"] == f"Bearer {TOKEN}"


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
def test_the_address_is_the_origin_or_ends_in_the_inventorys_path(url: str, origin: str) -> None:
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
def test_a_setting_that_cannot_be_is_refused_by_name(name: str, value: str) -> None:
    sound = {"INVENTORY_AUTHORITY_URL": "https://a.example", "INVENTORY_AUTHORITY_TOKEN": TOKEN}
    with pytest.raises(ConfigurationError, match=name) as refused:
        Settings.read(environment={**sound, name: value})
    assert "secret" not in str(refused.value)


def test_the_token_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    environment = {"INVENTORY_AUTHORITY_URL": "https://a.example", "INVENTORY_AUTHORITY_TOKEN_FILE": str(file)}
    assert Settings.read(environment=environment).token == TOKEN
    with pytest.raises(ConfigurationError, match=r"INVENTORY_AUTHORITY_TOKEN: is set, and .*_FILE too"):
        Settings.read(environment={**environment, "INVENTORY_AUTHORITY_TOKEN": TOKEN})
    for content in (b"", b"\n"):
        file.write_bytes(content)
        with pytest.raises(ConfigurationError, match="INVENTORY_AUTHORITY_TOKEN"):
            Settings.read(environment=environment)
    file.write_bytes(b"\xff")
    with pytest.raises(
        ConfigurationError, match=r"INVENTORY_AUTHORITY_TOKEN_FILE: .*token cannot be used: it is not text"
    ):
        Settings.read(environment=environment)
    file.unlink()
    with pytest.raises(ConfigurationError, match=r"INVENTORY_AUTHORITY_TOKEN_FILE: .*No such file"):
        Settings.read(environment=environment)


async def test_an_id_that_leads_elsewhere_and_a_key_that_no_header_carries_are_not_sent(
    connect: Connect, liar: Liar
) -> None:
    async with connect(liar.url) as client:
        for hold_id in ("", "../items", "a/b", "a?b", "a\r\nb", "ü", "-a", "a" * 129):
            with pytest.raises(InvalidRequestError, match="holdId"):
                await client.commit(SHOP, hold_id)
        for key in ("", " ", "a\nb", "k" * 256):
            with pytest.raises(InvalidRequestError, match="Idempotency-Key"):
                await client.create_hold(SHOP, CART, idempotency_key=key)
        with pytest.raises(InvalidRequestError, match="not JSON"):
            await client.create_hold(SHOP, [Item("TEE", float("nan"))])  # type: ignore[arg-type]
    assert not liar.asked


def test_errors_survive_a_way_through_another_process() -> None:
    error = InsufficientStockError("Sold out.", (ShortItem("TEE", "", 2, 1),))
    error.hold_id = HOLD_ID
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - its own
    assert (str(copy), copy.items, copy.hold_id) == ("Sold out.", error.items, HOLD_ID)
