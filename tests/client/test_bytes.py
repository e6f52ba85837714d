"""Any response is either a typed answer or one of the client's own errors; sent as bytes to both clients."""

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
from tests.client.faulty_server import (
    HOLD_ID,
    LINE,
    SHOP,
    FaultyServer,
    error_json,
    hold_json,
    response_bytes,
    send_and_close,
)
from tests.examples import examples

Request = Callable[[AsyncInventoryAuthorityClient], Awaitable[object]]
CART = [Item("TEE", 1)]
PAID = "https://shop.example/paid"

CALLS: dict[str, tuple[Request, tuple[type, ...]]] = {
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

NO_HOLD = {"holdId": None, "mode": "validate_only", "bypassed": False}
VALID: dict[str, list[tuple[int, dict[str, Any]]]] = {
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
    "create": [
        (201, hold_json()),
        (200, hold_json(status="committed")),
        (200, hold_json(status="released")),
        (200, NO_HOLD),
    ],
    "get": [(200, hold_json(status="expired", expiredAt="2026-11-22T12:20:01Z"))],
    "commit": [(200, hold_json(status="committed", reason="paid"))],
    "release": [(200, hold_json(status="released")), (202, hold_json(ending="release"))],
    "extend": [(200, hold_json()), (200, hold_json(status="expired"))],
    "checkout": [
        (201, {**hold_json(), "checkoutSessionId": "cs_1", "url": "https://pay.example/cs_1"}),
        (201, {**NO_HOLD, "shopId": SHOP, "expiresAt": "2026-11-22T12:20:00Z", "url": "https://pay.example/cs_1"}),
    ],
}
ERRORS: list[tuple[int, dict[str, Any]]] = [
    (409, error_json("insufficient_stock", items=[{**LINE, "requested": 2, "available": 1}])),
    (422, error_json("invalid_request", fields=[{"field": "a", "message": "b"}])),
    (429, error_json("inventory_busy", retryAfter=5)),
    *((409, error_json(name, holdId=HOLD_ID, status="expired")) for name in ("hold_exists", "hold_not_active", "x")),
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
def nearly_valid(draw: st.DrawFn, name: str) -> bytes:
    """A valid answer with up to two fields changed or missing, sometimes with another status, or cut short."""
    status, valid = draw(st.sampled_from(VALID[name] if draw(st.integers(0, 3)) else ERRORS))
    answer = dict(valid)
    for field in draw(st.lists(st.sampled_from(sorted(valid)), max_size=2)):
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
    return response_bytes(status, body, **(headers if draw(st.booleans()) else {}))


def any_answer(name: str) -> st.SearchStrategy[bytes]:
    bodies = st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode())
    wrong = st.builds(response_bytes, st.sampled_from(STATUSES), bodies)
    none = st.binary(max_size=120).map(lambda rest: b"HTTP/1.1 200 OK\r\n" + rest) | st.binary(max_size=120)
    return st.one_of(nearly_valid(name), nearly_valid(name), nearly_valid(name), wrong, none)


@pytest.fixture
async def impatient(connect: Connect, server: FaultyServer) -> AsyncIterator[AsyncInventoryAuthorityClient]:
    """A client with a short time-out, as many of these responses never end."""
    async with connect(server.url, seconds=0.1) as client:
        yield client


@settings(max_examples=examples(100), deadline=None, suppress_health_check=list(HealthCheck))
@given(case=st.sampled_from(sorted(CALLS)).flatmap(lambda name: st.tuples(st.just(name), any_answer(name))))
async def test_any_response_is_a_typed_answer_or_an_error_of_the_client(
    impatient: AsyncInventoryAuthorityClient, server: FaultyServer, case: tuple[str, bytes]
) -> None:
    name, response = case
    request, kinds = CALLS[name]
    server.react(send_and_close(response))
    try:
        answer = await request(impatient)
    except InventoryAuthorityError:
        return
    assert isinstance(answer, kinds)
    _assert_success(name, answer)


def _assert_success(name: str, answer: object) -> None:
    """Check what a caller concludes from the absence of an error."""
    if isinstance(answer, Hold):
        assert (answer.shop_id, answer.hold_id) == (SHOP, HOLD_ID)
        allowed = {
            "create": {HoldStatus.ACTIVE, HoldStatus.COMMITTED},
            "commit": {HoldStatus.COMMITTED},
            "release": {HoldStatus.RELEASED, HoldStatus.EXPIRED} | ({HoldStatus.ACTIVE} if answer.ending else set()),
            "extend": {HoldStatus.ACTIVE},
        }
        assert answer.status in allowed.get(name, set(HoldStatus))
        assert answer.expires_at.tzinfo is not None
    if isinstance(answer, CheckoutSession):
        assert answer.url is None or answer.url.startswith("http")
        assert answer.hold_id in (HOLD_ID, None)
