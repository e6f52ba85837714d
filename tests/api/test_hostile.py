"""What a caller can send that is no request: never a 5xx, always the one shape naming the field, no stock moved."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from dev.harness.invariants import assert_stock_adds_up
from tests.api.asking import HOLDS, ITEMS, VALIDATE, fields_of, fresh, refused
from tests.stack import ADMIN_TOKEN, SHOP, Stack

JSON = {"Content-Type": "application/json"}
CART = {"shopId": SHOP, "items": [{"sku": "TEE", "quantity": 1}]}
TOO_BIG = 256 * 1024 + 1


def cart(**line: Any) -> dict[str, Any]:
    return {"shopId": SHOP, "items": [{"sku": "TEE", "quantity": 1} | line]}


@pytest.fixture(scope="module")
async def hold(shared: Stack) -> dict[str, Any]:
    await shared.put(10)
    return await shared.made(("TEE", 3))


@pytest.fixture
async def victim(shared: Stack, hold: dict[str, Any]) -> AsyncIterator[Stack]:
    """The product with stock and a hold, which must be as they were when the test has done its worst."""
    yield shared
    assert await shared.read(hold["holdId"]) == hold
    assert await shared.stock_of() == (7, 3)
    assert shared.counted("inventory_hold_error") == 0
    await assert_stock_adds_up(shared.engine)


@pytest.mark.parametrize("url", [HOLDS, VALIDATE])
async def test_a_body_over_256_kib_is_too_large_announced_or_not(victim: Stack, url: str) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(TOO_BIG // 1024 + 1):
            yield b" " * 1024

    refused(await victim.http.post(url, content=b" " * TOO_BIG, headers=JSON), 413, "body_too_large")
    refused(await victim.http.post(url, content=chunks(), headers=JSON), 413, "body_too_large")


async def test_a_body_of_256_kib_is_read(victim: Stack) -> None:
    body = json.dumps(CART | {"items": [{"sku": "NONE", "quantity": 1}]}).encode().ljust(TOO_BIG - 1)
    refused(await victim.http.post(HOLDS, content=body, headers=JSON), 409, "insufficient_stock")


async def test_more_than_100_lines_are_refused(victim: Stack) -> None:
    for url in (HOLDS, VALIDATE):
        for lines in ([{"sku": "TEE", "quantity": 1}] * 101, []):
            assert fields_of(await victim.http.post(url, json={"shopId": SHOP, "items": lines})) == ["items"]


@pytest.mark.parametrize(
    ("url", "field"),
    [
        (f"{ITEMS}?shopId={SHOP}&sku=TEE&sku=MUG", "sku"),
        (f"{ITEMS}?shopId={SHOP}&shopId={SHOP}", "shopId"),
        (f"{HOLDS}?shopId={SHOP}&limit=1&limit=2", "limit"),
        (f"/api/inventory/timeline?shopId={SHOP}&sku=TEE&sku=MUG", "sku"),
        (f"/api/inventory/export?shopId={SHOP}&shopId=other", "shopId"),
        (f"{HOLDS}/{SHOP}/h-1?a=1&a=2", "a"),
    ],
)
async def test_a_query_parameter_that_is_sent_twice_is_named(victim: Stack, url: str, field: str) -> None:
    answer = await victim.http.get(url)
    assert fields_of(answer) == [field]
    assert answer.json()["message"] == f"{field}: must be sent at most once"


async def test_a_parameter_of_the_name_of_a_header_is_another_one(victim: Stack) -> None:
    assert (await victim.http.get("/api/inventory/health?Authorization=x")).status_code == 200


async def test_a_repeated_dry_run_imports_nothing(victim: Stack) -> None:
    content = f"shopId,sku,variantKey,productId,onHand,lowStockThreshold\n{SHOP},REPEATED,,,1,\n"
    url = "/api/inventory/import?dryRun=true&dryRun=false"
    answer = await victim.http.post(url, content=content, headers={"Content-Type": "text/csv"})
    assert fields_of(answer) == ["dryRun"]
    found = await victim.http.get(ITEMS, params={"shopId": SHOP, "sku": "REPEATED"})
    assert found.json()["items"] == []


@pytest.mark.parametrize("name", ["Idempotency-Key", "X-Actor", "Authorization"])
async def test_a_header_that_is_sent_twice_is_named(victim: Stack, name: str) -> None:
    value = f"Bearer {ADMIN_TOKEN}" if name == "Authorization" else "a"
    headers = [("Authorization", f"Bearer {ADMIN_TOKEN}"), (name, value), (name, value)]
    async with httpx.AsyncClient(base_url=victim.url) as http:
        assert fields_of(await http.post(HOLDS, json=CART, headers=headers)) == [name]


@pytest.mark.parametrize(
    "content",
    [b"{", b"\xff\xfe{}", b'{"shopId": "\xff"}', b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000,
     b'{"a":' * 40_000, b"9" * 5000, b'{"quantity": ' + b"9" * 5000 + b"}", b"\x00", b"nul"],
)  # fmt: skip
async def test_what_is_not_json_is_a_400(victim: Stack, content: bytes) -> None:
    for url in (HOLDS, VALIDATE, f"{HOLDS}/{SHOP}/h/commit"):
        refused(await victim.http.post(url, content=content, headers=JSON), 400, "invalid_json")


@pytest.mark.parametrize("content", [b"null", b"[]", b'"x"', b"1", b"true", b"1e400", b"NaN", b'{"\\ud800": 1}'])
async def test_json_that_is_no_request_names_the_body(victim: Stack, content: bytes) -> None:
    for url in (HOLDS, VALIDATE):
        assert fields_of(await victim.http.post(url, content=content, headers=JSON)) == ["body"]


@pytest.mark.parametrize("sent", [None, "text/plain", "application/x-www-form-urlencoded", "", "a" * 5000])
async def test_a_body_of_another_type_names_the_content_type(victim: Stack, sent: str | None) -> None:
    headers = {} if sent is None else {"Content-Type": sent}
    answer = await victim.http.post(HOLDS, content=json.dumps(CART), headers=headers)
    assert fields_of(answer) == ["Content-Type"]
    assert "application/json" in answer.json()["message"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (cart(quantity=0), "items[0].quantity"),
        (cart(quantity=-1), "items[0].quantity"),
        (cart(quantity=10**30), "items[0].quantity"),
        (cart(quantity=1.5), "items[0].quantity"),
        (cart(quantity=1.0), "items[0].quantity"),
        (cart(quantity="1"), "items[0].quantity"),
        (cart(quantity=True), "items[0].quantity"),
        (cart(quantity=None), "items[0].quantity"),
        (cart(quantity=float("inf")), "items[0].quantity"),
        (cart(quantity=float("nan")), "items[0].quantity"),
        (cart(quantity=[1]), "items[0].quantity"),
        (cart(sku=""), "items[0].sku"),
        (cart(sku="x" * 201), "items[0].sku"),
        (cart(sku="a\0b"), "items[0].sku"),
        (cart(sku="a\nb"), "items[0].sku"),
        (cart(sku="\ud800"), "items[0].sku"),
        (cart(sku="a\u202eb"), "items[0].sku"),
        (cart(sku=" TEE"), "items[0].sku"),
        (cart(sku="TEE\u00a0"), "items[0].sku"),
        (cart(variantKey=" "), "items[0].variantKey"),
        (CART | {"reference": "order-1 "}, "reference"),
        (cart(sku=7), "items[0].sku"),
        (cart(sku=None), "items[0].sku"),
        (cart(variantKey=None), "items[0].variantKey"),
        (cart(variantKey="x" * 201), "items[0].variantKey"),
        (cart(variantKey="\0"), "items[0].variantKey"),
        (cart(qty=1), "items[0].qty"),
        (cart(variant_key="size:M"), "items[0].variant_key"),
        (CART | {"items": {"sku": "TEE"}}, "items"),
        (CART | {"items": None}, "items"),
        (CART | {"items": ["TEE"]}, "items[0]"),
        (CART | {"shopId": "a/b"}, "shopId"),
        (CART | {"shopId": "x" * 129}, "shopId"),
        (CART | {"shopId": "shop-1\n"}, "shopId"),
        (CART | {"shopId": ""}, "shopId"),
        (CART | {"shopId": None}, "shopId"),
        (CART | {"shop_id": SHOP}, "shop_id"),
        (CART | {"x" * 5000: 1}, "x" * 119 + "…"),
        (CART | {"holdId": "a:b"}, "holdId"),
        (CART | {"holdId": ""}, "holdId"),
        (CART | {"holdId": "-a"}, "holdId"),
        (CART | {"reference": ""}, "reference"),
        (CART | {"reference": "x" * 201}, "reference"),
        (CART | {"reference": "a\0"}, "reference"),
        (CART | {"ttlSeconds": "60"}, "ttlSeconds"),
        (CART | {"ttlSeconds": 1e400}, "ttlSeconds"),
        (CART | {"ttlSeconds": 60.5}, "ttlSeconds"),
        (CART | {"replace": 1}, "replace"),
        (CART | {"replace": "true"}, "replace"),
        (CART | {"replace": None}, "replace"),
    ],
)
async def test_a_field_at_fault_is_named(victim: Stack, body: dict[str, Any], field: str) -> None:
    answer = await victim.http.post(HOLDS, content=json.dumps(body), headers=JSON)
    assert fields_of(answer) == [field]


async def test_many_faults_are_a_short_answer(victim: Stack) -> None:
    items = [{"sku": "\0" * 201, "quantity": "many", "x" * 1000: 1}] * 100
    answer = await victim.http.post(HOLDS, json={"shopId": "?", "items": items})
    assert len(fields_of(answer)) == 20
    assert len(answer.content) < 8000


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b'{"shopId": "shop-1", "items": [{"sku": "TEE", "quantity": 1, "quantity": 99}]}', "quantity"),
        (b'{"shopId": "shop-1", "shopId": "shop-2", "items": []}', "shopId"),
        (b'{"\\ud800": 1, "\\ud800": 2}', "body"),
    ],
)
async def test_a_field_given_twice_is_named(victim: Stack, content: bytes, field: str) -> None:
    for url in (HOLDS, VALIDATE):
        assert fields_of(await victim.http.post(url, content=content, headers=JSON)) == [field]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32-be"])
async def test_json_in_another_encoding_than_utf_8_is_refused(victim: Stack, encoding: str) -> None:
    content = json.dumps(CART).encode(encoding)
    body = refused(await victim.http.post(VALIDATE, content=content, headers=JSON), 400, "invalid_json")
    assert "UTF-8" in body["message"]


async def test_a_byte_order_mark_of_utf_8_changes_nothing(victim: Stack) -> None:
    content = json.dumps(CART).encode("utf-8-sig")
    assert (await victim.http.post(VALIDATE, content=content, headers=JSON)).status_code == 200


@pytest.mark.parametrize("name", ["Idempotency-Key", "X-Actor"])
@pytest.mark.parametrize("value", [b"", b"x" * 256, b"\x80", b"a\tb", b"\xc2\xa0", b"\xa0"])
async def test_a_header_at_fault_is_named(victim: Stack, name: str, value: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (name.encode(), value)]
    assert fields_of(await victim.http.post(HOLDS, content=json.dumps(CART), headers=headers)) == [name]


async def test_keys_of_255_characters_and_of_other_alphabets_are_keys(victim: Stack) -> None:
    unique = fresh()
    for key in (unique.ljust(255, "x").encode(), f"{unique}-é".encode(), f"{unique}-鍵".encode().replace(b"\x8d", b"")):
        headers = [(b"content-type", b"application/json"), (b"idempotency-key", key)]
        answers = [await victim.http.post(HOLDS, content=json.dumps(CART), headers=headers) for _ in range(2)]
        if answers[0].status_code != 422:
            assert [answer.status_code for answer in answers] == [201, 200]
            await victim.post(answers[0].json()["holdId"], "release")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{HOLDS}/%00/%00", 422), (f"{HOLDS}/{SHOP}/%ff", 422), (f"{HOLDS}/{SHOP}/a%0a", 422),
        (f"{HOLDS}/{SHOP}/{'x' * 5000}", 422), (f"{HOLDS}/{SHOP}/%2e%2e", 422), (f"{HOLDS}/{SHOP}/a%2fb", 404),
        (f"{HOLDS}/{SHOP}/nobody", 404), (f"{HOLDS}/", 404), (f"{HOLDS}//", 404), ("/%00", 404),
        ("/api/inventory/../../etc/passwd", 404), ("//example.com", 404),
    ],
)  # fmt: skip
async def test_an_odd_path_is_refused(victim: Stack, path: str, status: int) -> None:
    """Written to the socket as it is: a client would tidy it up."""
    address = httpx.URL(victim.url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\nConnection: close\r\n\r\n"
    writer.write(request.encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), head
    assert set(json.loads(body)) >= {"error", "message"}


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
async def test_a_method_that_a_route_does_not_know_is_refused(victim: Stack, method: str) -> None:
    answer = await victim.http.request(method, VALIDATE)
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize(("path", "allowed"), [(HOLDS, {"GET", "POST"}), (ITEMS, {"GET", "PUT"})])
async def test_a_refused_method_is_told_all_methods_of_the_path(victim: Stack, path: str, allowed: set[str]) -> None:
    answer = await victim.http.delete(path)
    refused(answer, 405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) - {"HEAD"} == allowed


def cursor(parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "value",
    ["", "x", "%00", "====", "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"), "x" * 3001, cursor(1),
     cursor([]), cursor(["a"]), cursor([1, 2]), cursor(["a", "\0"]), cursor(["a", "b", "c"]), cursor("[" * 500)],
)  # fmt: skip
@pytest.mark.parametrize("url", [HOLDS, ITEMS])
async def test_a_cursor_that_no_page_gave_is_refused(victim: Stack, url: str, value: str) -> None:
    answer = await victim.http.get(url, params={"shopId": SHOP, "cursor": value})
    assert fields_of(answer) == ["cursor"]


@pytest.mark.parametrize(
    "time",
    ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-01-01T00:00:00+23:59:59.999999", "2026-W01-1T00Z"],
)
async def test_a_cursor_of_an_odd_time_breaks_nothing(victim: Stack, time: str) -> None:
    answer = await victim.http.get(HOLDS, params={"shopId": SHOP, "cursor": cursor([time, "a"])})
    assert answer.status_code in {200, 422}


async def test_the_largest_request_that_is_allowed_can_be_held_and_ended(stack: Stack) -> None:
    names = [f"{n:03}" + "\N{T-SHIRT}" * 197 for n in range(100)]
    variant, reference = "*" * 200, "\N{T-SHIRT}" * 200
    for half in (names[:50], names[50:]):
        items = [{"sku": name, "variantKey": variant, "onHand": 1_000_000_000} for name in half]
        assert (await send(stack, ITEMS, {"shopId": SHOP, "items": items}, "PUT")).status_code == 200
    lines = [{"sku": name, "variantKey": variant, "quantity": 1_000_000} for name in names]
    made = await send(stack, HOLDS, {"shopId": SHOP, "items": lines, "reference": reference})
    assert made.status_code == 201, made.text[:300]
    assert made.json()["reference"] == reference
    ended = await send(stack, f"{HOLDS}/{SHOP}/{made.json()['holdId']}/commit", {"reason": "\N{T-SHIRT}" * 200})
    assert ended.json()["status"] == "committed"
    await assert_stock_adds_up(stack.engine)


async def send(stack: Stack, url: str, body: object, method: str = "POST") -> httpx.Response:
    """Send JSON in UTF-8 without escapes, so that more goes into a body."""
    return await stack.http.request(method, url, content=json.dumps(body, ensure_ascii=False).encode(), headers=JSON)
