"""Whatever comes back, it is a typed answer or one of the client's own errors; checked on the wire, in both clients."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

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
from tests.client.liar import HOLD_ID, LINE, SHOP, Liar, a_hold, a_refusal, cuts, wire

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

A_PAGE = {**a_hold(), "checkoutSessionId": "cs_1", "url": "https://pay.example/cs_1", "bypassed": False}
A_HEALTH = {"status": "ok", "mode": "reserve_ttl", "bypassed": False, "version": "1", "checks": {"a": {"status": "ok"}}}
NOT_HELD = {"holdId": None, "mode": "validate_only", "bypassed": False}
SHORT = a_refusal("insufficient_stock", items=[{**LINE, "requested": 2, "available": 1}], retryAfter=5)
ANSWERS = [a_hold(), a_hold(status="committed"), a_hold(status="released"), A_PAGE, A_HEALTH, NOT_HELD, {"ok": True}]
ANSWERS += [SHORT, a_refusal("invalid_request", fields=[{"field": "a", "message": "b"}])]
ANSWERS += [a_refusal(name, holdId=HOLD_ID, status="expired") for name in ("hold_exists", "hold_not_active", "x")]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def nearly_right(draw: st.DrawFn) -> bytes:
    """An answer of Holdfast's with up to two fields changed or missing, at times cut short."""
    answer: dict[str, Any] = dict(draw(st.sampled_from(ANSWERS)))
    for name in draw(st.lists(st.sampled_from(sorted(answer)), max_size=2)):
        if draw(st.booleans()):
            answer.pop(name, None)
        else:
            answer[name] = draw(json_values)
    body = json.dumps(answer).encode()
    return body[: draw(st.integers(0, len(body)))] if draw(st.booleans()) and draw(st.booleans()) else body


bodies = nearly_right() | st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode())
statuses = st.sampled_from(
    [200, 200, 200, 201, 202, 204, 301, 400, 401, 404, 409, 409, 422, 429, 500, 502, 503, 504, 599]
)
headers = st.dictionaries(
    st.sampled_from(["Retry_After", "Content_Encoding", "Content_Type", "Transfer_Encoding"]),
    st.sampled_from(
        ["", "0", "-1", "999999999999", "1e309", "soon", "gzip", "chunked", "Sun, 99 Nov 9999 99:99:99 GMT"]
    ),
    max_size=2,
)
answers = st.builds(lambda status, body, named: wire(status, body, **named), statuses, bodies, headers)


no_answers = st.binary(max_size=120) | st.binary(max_size=120).map(lambda rest: b"HTTP/1.1 200 OK\r\n" + rest)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(answer=answers | no_answers, name=st.sampled_from(sorted(ASKS)))
async def test_whatever_comes_back_is_a_typed_answer_or_an_error_of_the_clients(
    connect: Connect, liar: Liar, answer: bytes, name: str
) -> None:
    ask, kinds = ASKS[name]
    liar.will(cuts(answer))
    async with connect(liar.url, seconds=0.05) as client:
        try:
            got = await ask(client)
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
