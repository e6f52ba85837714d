"""Both clients against a server that hangs, resets, drips, lies, or asks for patience."""

import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from holdfast_client import (
    AsyncInventoryAuthorityClient,
    AuthenticationError,
    ConflictError,
    Hold,
    HoldNotActiveError,
    InventoryAuthorityError,
    InventoryBusyError,
    InventoryTimeoutError,
    InventoryUnavailableError,
    Item,
    MalformedAnswerError,
    PaymentsUnavailableError,
)
from tests.client.conftest import Connect
from tests.client.faulty_server import (
    HOLD_ID,
    LINE,
    SHOP,
    Deed,
    Liar,
    a_hold,
    a_refusal,
    cuts,
    drips,
    hangs,
    holds,
    resets,
    says,
    sends,
    wire,
)

Client = AsyncInventoryAuthorityClient
CART = [Item("TEE", 1)]
UNAVAILABLE = says(503, a_refusal("inventory_unavailable"))


@contextmanager
def within(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


async def create(client: Client, **given: Any) -> Hold:
    hold = await client.create_hold(SHOP, CART, **given)
    assert isinstance(hold, Hold)
    return hold


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n"
SLOW: dict[str, Deed] = {
    "never answers": hangs,
    "drips its headers": drips(b"HTTP/1.1 200 OK\r\n" + b"X-Filler: x\r\n" * 1000, 0.1),
    "drips its body": drips(HEAD + b" " * 50_000, 0.1),
    "stops half way": sends(HEAD + b"{"),
}


@pytest.mark.parametrize("deed", SLOW.values(), ids=SLOW.keys())
async def test_a_server_that_is_slow_costs_the_timeout_and_no_more(connect: Connect, liar: Liar, deed: Deed) -> None:
    liar.will(deed)
    async with connect(liar.url, seconds=0.5) as client:
        with within(1.5), pytest.raises(InventoryTimeoutError) as late:
            await create(client)
    [asked] = liar.asked
    assert late.value.hold_id == asked.body["holdId"]
    assert late.value.idempotency_key == asked.headers["idempotency-key"]


BROKEN: dict[str, Deed] = {
    "resets": resets,
    "closes without a word": cuts(b""),
    "closes within the headers": cuts(b"HTTP/1.1 201 Cre"),
    "closes within the body": cuts(HEAD + b'{"holdId'),
    "closes within a chunk": cuts(b"HTTP/1.1 201 X\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n{"),
    "is a proxy without a server": says(502, b"<html>Bad Gateway</html>"),
    "has a fault": says(500, a_refusal("internal_error")),
    "is away": UNAVAILABLE,
    "is busy": says(429, a_refusal("inventory_busy", retryAfter=10)),
    "is late": says(504, a_refusal("inventory_timeout", holdId=HOLD_ID, retryAfter=10)),
}


@pytest.mark.parametrize("deed", BROKEN.values(), ids=BROKEN.keys())
async def test_what_passes_is_asked_again_with_the_same_key_and_hold(client: Client, liar: Liar, deed: Deed) -> None:
    liar.will(deed, deed, holds)
    hold = await create(client)
    assert len(liar.asked) == 3
    assert {json.dumps(asked.body) for asked in liar.asked} == {json.dumps(liar.asked[0].body)}
    assert len({asked.headers["idempotency-key"] for asked in liar.asked}) == 1
    assert hold.hold_id == liar.asked[0].body["holdId"]


async def test_every_call_but_health_is_asked_again(client: Client, liar: Liar) -> None:
    asks: dict[str, Callable[[], Awaitable[Hold]]] = {
        "commit": lambda: client.commit(SHOP, HOLD_ID),
        "release": lambda: client.release(SHOP, HOLD_ID),
        "extend": lambda: client.extend(SHOP, HOLD_ID, 60),
        "get": lambda: client.get_hold(SHOP, HOLD_ID),
    }
    ends = {"commit": "committed", "release": "released"}
    for name, ask in asks.items():
        liar.will(resets, says(200, a_hold(status=ends.get(name, "active"))))
        await ask()
    keys = [asked.headers.get("idempotency-key") for asked in liar.asked if asked.target.endswith("/extend")]
    assert keys[0] == keys[1] is not None
    liar.will(resets, says(200, {"ok": True}))
    await client.validate(SHOP, CART)
    liar.asked.clear()
    liar.will(resets)
    with pytest.raises(InventoryUnavailableError):
        await client.health_check()
    assert len(liar.asked) == 1


async def test_a_callers_own_key_goes_out_without_a_hold_id(client: Client, liar: Liar) -> None:
    liar.will(UNAVAILABLE, says(201, a_hold(holdId="h_of_the_key")))
    assert (await create(client, idempotency_key="attempt-1")).hold_id == "h_of_the_key"
    assert [asked.headers["idempotency-key"] for asked in liar.asked] == ["attempt-1"] * 2
    assert "holdId" not in liar.asked[0].body


async def test_a_time_out_of_holdfasts_names_its_hold(client: Client, liar: Liar) -> None:
    liar.will(says(504, a_refusal("inventory_timeout", holdId="h_of_the_key", retryAfter=60_000)))
    with pytest.raises(InventoryTimeoutError) as late:
        await create(client, idempotency_key="attempt-1")
    assert (late.value.hold_id, late.value.idempotency_key) == ("h_of_the_key", "attempt-1")


@pytest.mark.parametrize(
    "deed",
    [says(429, a_refusal("inventory_busy", retryAfter=600), Retry_After="1"), says(503, b"", Retry_After="1")],
    ids=["milliseconds in the body", "seconds in the header"],
)
async def test_nobody_is_asked_before_the_time_that_was_named(client: Client, liar: Liar, deed: Deed) -> None:
    liar.will(deed, holds)
    await create(client)
    first, second = (asked.at for asked in liar.asked)
    assert second - first >= 0.6


async def test_a_time_beyond_the_callers_own_is_not_waited_for(client: Client, liar: Liar) -> None:
    liar.will(says(429, a_refusal("inventory_busy", retryAfter=3000)))
    with within(1), pytest.raises(InventoryBusyError) as busy:
        await create(client)
    assert busy.value.retry_after == 3.0
    assert len(liar.asked) == 1


async def test_asking_again_ends_with_the_timeout_and_pauses_grow(client: Client, liar: Liar) -> None:
    liar.will(UNAVAILABLE)
    with within(3), pytest.raises(InventoryUnavailableError):
        await create(client)
    assert 3 <= len(liar.asked) <= 7


async def test_nobody_there_is_unavailable(connect: Connect) -> None:
    async with connect("http://127.0.0.1:9", seconds=0.3) as client:
        with within(2), pytest.raises(InventoryUnavailableError):
            await client.validate(SHOP, CART)


NOT_AGAIN: dict[str, tuple[Deed, type[InventoryAuthorityError]]] = {
    "a proxy refuses the token": (says(401, b"<html>"), AuthenticationError),
    "not for this token": (says(403, a_refusal("forbidden")), AuthenticationError),
    "a conflict of tomorrow": (says(409, a_refusal("moon_in_the_wrong_house")), ConflictError),
    "a conflict without a word": (says(409, b"{}"), MalformedAnswerError),
    "short of nothing that is named": (says(409, a_refusal("insufficient_stock")), MalformedAnswerError),
    "not active, it does not say how": (says(409, a_refusal("hold_not_active", status=7)), MalformedAnswerError),
    "no payments": (says(503, a_refusal("payments_not_configured")), PaymentsUnavailableError),
    "another address": (says(404, b"<html>Not here</html>"), MalformedAnswerError),
    "a redirect": (says(307, b"", Location="/elsewhere"), MalformedAnswerError),
}


@pytest.mark.parametrize(("deed", "error"), NOT_AGAIN.values(), ids=NOT_AGAIN.keys())
async def test_what_does_not_pass_is_asked_once(
    client: Client, liar: Liar, deed: Deed, error: type[InventoryAuthorityError]
) -> None:
    liar.will(deed)
    with pytest.raises(error):
        await create(client)
    assert len(liar.asked) == 1


LIES: dict[str, Deed] = {
    "html": says(200, b"<html>Welcome to the hotel's network</html>", Content_Type="text/html"),
    "nothing": says(200),
    "no content": sends(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "reset content": says(205),
    "half a json": says(201, json.dumps(a_hold()).encode()[:-20]),
    "not utf-8": says(201, b'{"holdId": "\xff"}'),
    "a list": says(201, [a_hold()]),
    "a number": says(201, b"7"),
    "not a number": says(201, b'{"holdId": NaN}'),
    "deep": says(201, b"[" * 100_000),
    "accepted": says(202, a_hold()),
    "two answers in one": says(201, json.dumps(a_hold()).encode() * 2),
    "a megabyte and more": says(201, b" " * 1_100_000 + json.dumps(a_hold()).encode()),
    "packed": says(201, json.dumps(a_hold()).encode(), Content_Encoding="gzip"),
    "an error as a success": says(200, a_refusal("insufficient_stock")),
    "another hold": says(201, a_hold(holdId="h-2")),
    "another shop": says(201, a_hold(shopId="shop-2")),
    "other items": says(201, a_hold(items=[{**LINE, "sku": "MUG"}])),
    "fewer items": says(201, a_hold(items=[])),
    "more of it": says(201, a_hold(items=[LINE, LINE])),
    "no items": says(201, {name: value for name, value in a_hold().items() if name != "items"}),
    "half a unit": says(201, a_hold(items=[{**LINE, "quantity": 1.0}])),
    "true units": says(201, a_hold(items=[{**LINE, "quantity": True}])),
    "no status": says(201, a_hold(status=None)),
    "a status of tomorrow": says(201, a_hold(status="pondered")),
    "a time without a zone": says(201, a_hold(expiresAt="2026-11-22T12:20:00")),
    "a time that is none": says(201, a_hold(expiresAt="soon")),
    "a time before time": says(201, a_hold(expiresAt="0001-01-01T00:00:00+23:00")),
    "a number as a time": says(201, a_hold(createdAt=1732278000)),
    "no hold, and not why": says(200, {"holdId": None}),
    "no hold in a mode that holds": says(200, {"holdId": None, "mode": "reserve_ttl", "bypassed": False}),
    "bypassed as a text": says(200, {"holdId": None, "mode": "reserve_ttl", "bypassed": "true"}),
    "validation's yes": says(200, {"ok": True}),
}


@pytest.mark.parametrize("deed", LIES.values(), ids=LIES.keys())
async def test_a_lie_is_no_hold(client: Client, liar: Liar, deed: Deed) -> None:
    liar.will(deed)
    with pytest.raises(MalformedAnswerError) as lie:
        await client.create_hold(SHOP, CART, hold_id=HOLD_ID)
    assert len(liar.asked) == 1
    assert lie.value.hold_id == HOLD_ID
    assert len(str(lie.value)) < 700


async def test_an_answer_that_says_otherwise_than_its_status_is_no_yes(client: Client, liar: Liar) -> None:
    for body in ({"ok": False}, {"ok": "true"}, {"ok": 1}, {}, {"ok": None}):
        liar.will(says(200, body))
        with pytest.raises(MalformedAnswerError):
            await client.validate(SHOP, CART)
    for status in ("active", "released", "expired"):
        liar.will(says(200, a_hold(status=status)))
        with pytest.raises(MalformedAnswerError):
            await client.commit(SHOP, HOLD_ID)
    for fields in ({"status": "committed"}, {"status": "active"}, {"status": "active", "ending": "sometime"}):
        liar.will(says(200, a_hold(**fields)))
        with pytest.raises(MalformedAnswerError):
            await client.release(SHOP, HOLD_ID)
    liar.will(says(200, a_hold(status="expired")))
    with pytest.raises(HoldNotActiveError):
        await client.extend(SHOP, HOLD_ID, 60)
    for body in ({}, {"status": "fine"}, {"status": "unavailable"}):
        liar.will(says(200, body))
        with pytest.raises(InventoryAuthorityError):
            await client.health_check()


async def test_a_release_that_is_under_way_is_told(client: Client, liar: Liar) -> None:
    liar.will(says(202, a_hold(ending="release")))
    assert (await client.release(SHOP, HOLD_ID)).ending == "release"


async def test_answers_may_grow(client: Client, liar: Liar) -> None:
    liar.will(says(201, a_hold(weather="fair", items=[{**LINE, "colour": "red"}])))
    assert (await create(client, hold_id=HOLD_ID)).hold_id == HOLD_ID


async def test_a_redirect_is_not_followed_with_the_token(client: Client, liar: Liar, caplog: Any) -> None:
    liar.will(says(302, b"", Location=f"{liar.url}/elsewhere"))
    with pytest.raises(MalformedAnswerError):
        await client.get_hold(SHOP, HOLD_ID)
    assert [asked.target for asked in liar.asked] == [f"/api/inventory/holds/{SHOP}/{HOLD_ID}"]
    assert "a" * 40 not in caplog.text


async def test_a_connection_is_used_again_and_a_stale_one_replaced(client: Client, liar: Liar) -> None:
    liar.will(cuts(wire(200, {"ok": True})), sends(wire(200, {"ok": True})))
    for _ in range(3):
        await client.validate(SHOP, CART)
    assert len(liar.asked) == 3


async def test_holdfasts_bypass_is_logged(client: Client, liar: Liar, caplog: pytest.LogCaptureFixture) -> None:
    liar.will(says(200, {"ok": True, "bypassed": True}))
    with caplog.at_level(logging.WARNING, "holdfast_client"):
        assert (await client.validate(SHOP, CART)).bypassed
    assert "without looking at the stock" in caplog.text
