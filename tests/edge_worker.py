"""The edge worker of docs/integration.md, run as it is."""

import json
import re
from collections.abc import Awaitable, Callable

from tests.client.faulty_server import HOLD_ID, FaultyServer, reset_connection, respond
from tests.documents import ROOT
from tests.paying import Shop

Checkout = Callable[[], Awaitable[tuple[int, str]]]
"""Sends a shopper to the worker. Returns the worker's status, and where it redirects to or its body."""


def program(language: str) -> str:
    """Return the page's code in that language."""
    [text] = re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / "integration.md").read_text(), re.DOTALL)
    return str(text)


async def holds_a_cart_or_says_that_it_is_sold_out(shop: Shop, check_out: Checkout) -> None:
    item = {"sku": "TEE", "variantKey": "size:M", "onHand": 1}
    await shop.stack.http.put("/api/inventory/items", json={"shopId": "demo", "items": [item]})
    status, url = await check_out()
    assert status == 303, url
    assert url.startswith(shop.stripe.url)
    status, sold_out = await check_out()
    assert status == 409, sold_out
    (short,) = json.loads(sold_out)
    assert (short["sku"], short["variantKey"], short["available"]) == ("TEE", "size:M", 0)


async def repeats_with_one_key_and_rejects_malformed_answers(server: FaultyServer, check_out: Checkout) -> None:
    page = {"holdId": HOLD_ID, "status": "active", "url": "https://pay.example/"}
    server.react(
        reset_connection,
        respond(408, {}),
        respond(502, b"<html>"),
        respond(503, {}),
        respond(200, b'{"holdId'),
        respond(201, page),
    )
    assert await check_out() == (303, "https://pay.example/")
    assert len({request.headers["idempotency-key"] for request in server.requests}) == 1
    assert len(server.requests) == 6
    for malformed in (
        respond(200, {**page, "status": "expired"}),
        respond(200, {"url": "https://pay.example"}),
        respond(200, b"null"),
        respond(302, b"", Location=server.url),
        respond(302, page, Location=server.url),
        respond(401, b"<html>"),
    ):
        server.react(malformed)
        before = len(server.requests)
        assert (await check_out())[0] == 500
        assert {request.target for request in server.requests[before:]} == {"/api/checkout/sessions"}
