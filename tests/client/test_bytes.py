"""Whatever comes back, it is a typed answer or one of the client's own errors; checked on the wire, in both clients."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast_client import (
    AsyncInventoryAuthorityClient,
    CheckoutItem,
    CheckoutSession,
    Health,
    Hold,
    HoldStatus,
    InventoryAuthorityError,
    Item,
    NotHeld,
    Validated,
)
from tests.client.conftest import Connect
from tests.client.faulty_server import HOLD_ID, LINE, SHOP, Liar, a_hold, a_refusal, cuts, wire

Ask = Callable[[AsyncInventoryAuthorityClient], Awaitable[object]]
CART = [Item("TEE", 1)]
PAID = "https://shop.example/paid"

ASKS: dict[str, tuple[Ask, tuple[type, ...]]] = {
    "health": (lambda client: client.health_check(), (Health,)),
    "validate": (lambda client: client.validate(SHOP, CART), (Validated,)),
    "create": (lambda client: client.create_hold(SHOP, CART, hold_id=HOLD_ID), (Hold, NotHeld)),
    "get": (lambda client: client.get_hold(SHOP, HOLD_ID), (Hold,)),
    "commit": (lambda client: client.commit(SHOP, HOLD_ID), (Hold,)),
    "release": (lambda client: client.release(SHOP, HOLD_ID), (Hold,)),
    "extend": (lambda client: client.extend(SHOP, HOLD_ID, 60), (Hold,)),
    "checkout": (
        lambda client: client.create_checkout_session(
            SHOP, [CheckoutItem(sku="TEE", quantity=1, price="price_1")], success_url=PAID, hold_id=HOLD_ID
        ),
        (CheckoutSession,),
    ),
}

NOT_HELD = {"holdId": None, "mode": "validate_only", "bypassed": False}
RIGHT: dict[str, list[tuple[int, dict[str, Any]]]] = {
    "health": [
        (
            200,
            {
                "status": "ok",
                "mode": "reserve_ttl",
                "bypassed": False,
                "version": "1",
                "checks": {"a": {"status": "ok"}},
            },
        )
    ],
    "validate": [(200, {"ok": True, "bypassed": False})],
    "create": [(201, a_hold()), (200, a_hold(status="committed")), (200, a_hold(status="released")), (200, NOT_HELD)],
    "get": [(200, a_hold(status="expired", expiredAt="2026-11-22T12:20:01Z"))],
    "commit": [(200, a_hold(status="committed", reason="paid"))],
    "release": [(200, a_hold(status="released")), (202, a_hold(ending="release"))],
    "extend": [(200, a_hold()), (200, a_hold(status="expired"))],
    "checkout": [
        (201, {**a_hold(), "checkoutSessionId": "cs_1", "url": "https://pay.example/cs_1"}),
        (201, {**NOT_HELD, "shopId": SHOP, "expiresAt": "2026-11-22T12:20:00Z", "url": "https://pay.example/cs_1"}),
    ],
}
REFUSALS: list[tuple[int, dict[str, Any]]] = [
    (409, a_refusal("insufficient_stock", items=[{**LINE, "requested": 2, "available": 1}])),
    (422, a_refusal("invalid_request", fields=[{"field": "a", "message": "b"}])),
    (429, a_refusal("inventory_busy", retryAfter=5)),
    *((409, a_refusal(name, holdId=HOLD_ID, status="expired")) for name in ("hold_exists", "hold_not_active", "x")),
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


STATUSES = [200, 201, 202, 204, 301, 400, 401, 404, 409, 422, 429, 500, 502, 503, 504, 599]
HEADERS = ["Retry_After", "Content_Encoding", "Content_Type", "Transfer_Encoding"]
VALUES = ["", "0", "-1", "999999999999", "1e309", "soon", "gzip", "chunked", "Sun, 99 Nov 9999 99:99:99 GMT"]


@st.composite
def nearly_right(draw: st.DrawFn, name: str) -> bytes:
    """An answer to this call with up to two fields changed or missing, at times of another status, or cut short."""
    status, right = draw(st.sampled_from(RIGHT[name] if draw(st.integers(0, 3)) else REFUSALS))
    answer = dict(right)
    for field in draw(st.lists(st.sampled_from(sorted(right)), max_size=2)):
        if draw(st.booleans()):
            answer.pop(field, None)
        else:
            answer[field] = draw(json_values)
    body = json.dumps(answer).encode()
    if draw(st.integers(0, 9)) == 0:
        body = body[: draw(st.integers(0, len(body)))]
    if draw(st.integers(0, 4)) == 0:
        status = draw(st.sampled_from(STATUSES))
    headers = draw(st.dictionaries(st.sampled_from(HEADERS), st.sampled_from(VALUES), max_size=1))
    return wire(status, body, **(headers if draw(st.booleans()) else {}))


def any_answer(name: str) -> st.SearchStrategy[bytes]:
    bodies = st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode())
    wrong = st.builds(wire, st.sampled_from(STATUSES), bodies)
    none = st.binary(max_size=120).map(lambda rest: b"HTTP/1.1 200 OK\r\n" + rest) | st.binary(max_size=120)
    return st.one_of(nearly_right(name), nearly_right(name), nearly_right(name), wrong, none)


@pytest.fixture
async def hasty(connect: Connect, liar: Liar) -> AsyncIterator[AsyncInventoryAuthorityClient]:
    """A client that gives up soon, as many of these answers never end."""
    async with connect(liar.url, seconds=0.1) as client:
        yield client


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(asked=st.sampled_from(sorted(ASKS)).flatmap(lambda name: st.tuples(st.just(name), any_answer(name))))
async def test_whatever_comes_back_is_a_typed_answer_or_an_error_of_the_clients(
    hasty: AsyncInventoryAuthorityClient, liar: Liar, asked: tuple[str, bytes]
) -> None:
    name, answer = asked
    ask, kinds = ASKS[name]
    liar.will(cuts(answer))
    try:
        got = await ask(hasty)
    except InventoryAuthorityError:
        return
    assert isinstance(got, kinds)
    _look_right(name, got)


def _look_right(name: str, got: object) -> None:
    """Check what a caller may conclude from there being no error."""
    if isinstance(got, Hold):
        assert (got.shop_id, got.hold_id) == (SHOP, HOLD_ID)
        allowed = {
            "create": {HoldStatus.ACTIVE, HoldStatus.COMMITTED},
            "commit": {HoldStatus.COMMITTED},
            "release": {HoldStatus.RELEASED, HoldStatus.EXPIRED} | ({HoldStatus.ACTIVE} if got.ending else set()),
            "extend": {HoldStatus.ACTIVE},
        }
        assert got.status in allowed.get(name, set(HoldStatus))
        assert got.expires_at.tzinfo is not None
    if isinstance(got, CheckoutSession):
        assert got.url is None or got.url.startswith("http")
        assert got.hold_id in (HOLD_ID, None)
