"""Who may: no token, a wrong one, the authority's, the admin's, and tokens under rotation."""

from collections.abc import AsyncIterator

import httpx
import pytest
from prometheus_client import CollectorRegistry

from api.app import create_app
from core.database import fetch
from core.setting_errors import SettingsError
from core.settings import Settings
from tests.api.asking import HEALTH, HOLDS, ITEMS, VALIDATE, client, neighbour, refused
from tests.stack import AUTHORITY_TOKEN, SHOP, Stack

CART = {"shopId": SHOP, "items": [{"sku": "TEE", "quantity": 1}]}
COUNT = {"shopId": SHOP, "items": [{"sku": "TEE", "onHand": 9}]}
GUARDED = [
    ("POST", VALIDATE),
    ("POST", HOLDS),
    ("GET", HOLDS),
    ("GET", f"{HOLDS}/{SHOP}/h"),
    ("POST", f"{HOLDS}/{SHOP}/h/commit"),
    ("POST", f"{HOLDS}/{SHOP}/h/release"),
    ("POST", f"{HOLDS}/{SHOP}/h/extend"),
    ("GET", ITEMS),
    ("PUT", ITEMS),
    ("POST", "/api/inventory/adjustments"),
    ("POST", f"{HOLDS}/{SHOP}/h/restock"),
    ("POST", "/api/inventory/import"),
    ("GET", "/api/inventory/export"),
    ("GET", "/api/inventory/timeline"),
]


@pytest.fixture
async def stranger(shared: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with client(shared.url, token=None) as http:
        yield http


@pytest.mark.parametrize(("method", "url"), GUARDED)
async def test_without_a_known_token_nothing_is_answered(stranger: httpx.AsyncClient, method: str, url: str) -> None:
    wrong = [
        "",
        "Bearer",
        "Bearer x",
        "Bearer " + "a" * 39,
        "Bearer " + "a" * 41,
        f"Basic {AUTHORITY_TOKEN}",
        AUTHORITY_TOKEN,
    ]
    for header in (None, *wrong):
        headers = {} if header is None else {"Authorization": header}
        answer = await stranger.request(method, url, headers=headers, content=b"{")
        refused(answer, 401, "unauthorized")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("token", [b"\xff\xfe" * 20, "ä".encode() * 40, b"a" * 40 + b"\x80"])
async def test_a_token_of_odd_bytes_is_a_wrong_token(stranger: httpx.AsyncClient, token: bytes) -> None:
    refused(await stranger.get(ITEMS, headers=[(b"Authorization", b"Bearer " + token)]), 401, "unauthorized")


@pytest.mark.parametrize("url", [HEALTH, "/livez", "/readyz", "/metrics", "/docs", "/openapi.json"])
async def test_what_operations_ask_needs_no_token(stranger: httpx.AsyncClient, url: str) -> None:
    assert (await stranger.get(url)).status_code == 200


async def test_a_stranger_does_not_learn_what_is_wrong_with_a_body(stranger: httpx.AsyncClient) -> None:
    for content in (b"{", b"[" * 10_000, b"\xff", b'{"nope": 1}'):
        answer = await stranger.post(HOLDS, content=content, headers={"Content-Type": "application/json"})
        refused(answer, 401, "unauthorized")


async def test_the_authority_token_opens_the_checkout_and_no_change_of_stock(stack: Stack) -> None:
    await stack.put(5)
    async with client(stack.url, AUTHORITY_TOKEN) as checkout:
        assert (await checkout.post(VALIDATE, json=CART)).status_code == 200
        hold = (await checkout.post(HOLDS, json=CART)).json()["holdId"]
        assert (await checkout.post(f"{HOLDS}/{SHOP}/{hold}/extend", json={"ttlSeconds": 60})).status_code == 200
        assert (await checkout.post(f"{HOLDS}/{SHOP}/{hold}/commit")).status_code == 200
        assert (await checkout.get(ITEMS, params={"shopId": SHOP})).status_code == 200
        assert (await checkout.get(HOLDS, params={"shopId": SHOP})).status_code == 200
        refused(await checkout.put(ITEMS, json=COUNT), 403, "forbidden")
        refused(await checkout.put(ITEMS, json={}), 403, "forbidden")
    assert await stack.stock_of() == (4, 0)


async def test_two_tokens_are_known_while_one_replaces_the_other(stack: Stack) -> None:
    old, new = "old-" + "1" * 40, "new-" + "2" * 40
    async with neighbour(stack, INVENTORY_AUTHORITY_TOKEN=f"{old}, {new}", INVENTORY_ADMIN_TOKEN="") as http:
        for token, status in ((old, 200), (new, 200), (f"{old}, {new}", 401), (AUTHORITY_TOKEN, 401)):
            headers = {"Authorization": f"Bearer {token}"}
            assert (await http.get(ITEMS, params={"shopId": SHOP}, headers=headers)).status_code == status


@pytest.mark.parametrize("name", ["Łukasz", "José", "till-3"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
async def test_an_actor_is_recorded_by_the_name_that_was_sent(stack: Stack, name: str, encoding: str) -> None:
    sent = name.encode(encoding if name != "Łukasz" else "utf-8")
    assert (await stack.http.put(ITEMS, json=COUNT, headers=[(b"X-Actor", sent)])).status_code == 200
    (row,) = await fetch(stack.engine, 'SELECT actor FROM "InventoryMovement"', {})
    assert row["actor"] == name


@pytest.mark.parametrize("actor", [b"", b"x" * 65, b"a\tb", b"\x80"])
async def test_an_actor_out_of_bounds_is_refused_by_name(shared: Stack, actor: bytes) -> None:
    answer = await shared.http.put(ITEMS, json=COUNT, headers=[(b"X-Actor", actor)])
    assert refused(answer, 422, "invalid_request")["fields"][0]["field"] == "X-Actor"


def test_an_api_that_anybody_may_call_does_not_start() -> None:
    settings = Settings.read({"DATABASE_URL": "postgresql://db/shop"})
    with pytest.raises(SettingsError, match="INVENTORY_AUTHORITY_TOKEN"):
        create_app(settings, registry=CollectorRegistry())
