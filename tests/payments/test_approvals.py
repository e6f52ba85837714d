"""POST /api/checkout/approvals: whose payment Stripe may confirm, and that nothing is charged otherwise."""

import json
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from temporalio.client import Client

from dev.harness.invariants import assert_stock_adds_up
from dev.postgres import EmbeddedPostgres
from tests.e2e.wire import wire_to
from tests.paying import LINE, PAGES, Shop, brief_checkout, named, running_shop, signed
from tests.servers import database_on
from tests.simulated import SECRET
from tests.stack import running_stack

APPROVAL_SECRET = "whsec_approval"
NEXT_SECRET = "whsec_approval_next"
SECRETS = f"{NEXT_SECRET},{APPROVAL_SECRET}"
ORDER = "v1.delegated_checkout.finalize_checkout"
APPROVED = {"manual_approval_details": {"type": "approved"}}


@dataclass
class Asked:
    """A shop whose simulator asks for approval, and its database."""

    shop: Shop
    database: str


@pytest.fixture(scope="module")
async def running(postgres: EmbeddedPostgres, migrated_template: str, temporal: Client) -> AsyncIterator[Asked]:
    """One shop for the module."""
    with database_on(postgres, migrated_template) as database:
        async with running_shop(database, temporal, STRIPE_APPROVAL_SECRET=SECRETS) as shop:
            address = f"{shop.stack.url}/api/checkout/approvals"
            await shop.stripe.control("/approvals", "PUT", url=address, secrets=[APPROVAL_SECRET])
            yield Asked(shop, database)


@pytest.fixture
async def corner(running: Asked) -> Shop:
    """The shop with ten of an item that no other test asks for."""
    return await running.shop.corner()


def order(session_id: str | None = None, hold_id: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return a request with Stripe's documented fields, and the two that name the hold."""
    data: dict[str, Any] = {
        "amount_subtotal": 1999,
        "amount_total": 1999,
        "currency": "eur",
        "email": "shopper@shop.example",
        "line_items_details": [{"id": "li_1", "unit_amount": 1999, "quantity": 1, "name": "T-shirt"}],
        "payment_method_details": {"type": "card", "card": {"brand": "visa", "last4": "4242"}},
    }
    if session_id is not None:
        data["checkout_session"] = session_id
    if hold_id is not None:
        data["metadata"] = named(hold_id)
    return {"id": str(uuid.uuid4()), "type": ORDER, "livemode": False, "context": "acct_1", "data": data, **fields}


async def ask(shop: Shop, request: Any, *, url: str | None = None, signature: str | None = None) -> httpx.Response:
    """Ask as Stripe does, without a token; signed now with the right secret unless told otherwise."""
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    header = {"Stripe-Signature": signed(body, APPROVAL_SECRET) if signature is None else signature}
    return await shop.stripe.browser.post(
        f"{url or shop.stack.url}/api/checkout/approvals", content=body, headers=header
    )


def reason(answer: httpx.Response) -> str:
    """Return why it was declined."""
    assert answer.status_code == 200, answer.text
    details = answer.json()["manual_approval_details"]
    assert details["type"] == "declined"
    return str(details["declined"]["reason"])


async def agents_session(shop: Shop, hold_id: str) -> str:
    """Open a session that names the hold and is attached to nothing: the end of the hold leaves it open."""
    line = {"quantity": 1, "price_data": {"currency": "eur", "unit_amount": 1999, "product_data": {"name": "T-shirt"}}}
    session = await shop.stripe.stripe.v1.checkout.sessions.create_async(
        {
            "mode": "payment",
            "line_items": [line],
            "success_url": PAGES["successUrl"],
            "metadata": named(hold_id),
            "payment_intent_data": {"metadata": named(hold_id)},
        }  # type: ignore[arg-type]
    )
    return session.id


async def try_to_pay(shop: Shop, session_id: str) -> httpx.Response:
    return await shop.stripe.browser.post(f"/_simulator/sessions/{session_id}/pay", json={"how": "card"})


async def payments_of(shop: Shop, session_id: str) -> list[dict[str, Any]]:
    return [each for each in await shop.stripe.control("/payments", "GET") if each["session"] == session_id]


async def test_an_order_is_refused_without_a_charge_when_its_hold_has_just_ended(corner: Shop) -> None:
    held = await corner.stack.made((corner.item, 1))
    session_id = await agents_session(corner, held["holdId"])
    await corner.stack.post(held["holdId"], "release")

    refused = await try_to_pay(corner, session_id)

    assert refused.status_code == 402
    assert "no longer reserved. Nothing was charged." in refused.json()["error"]["message"]
    assert await payments_of(corner, session_id) == []
    assert await corner.stock() == (10, 0)
    await assert_stock_adds_up(corner.stack.engine)


async def test_an_approved_order_is_paid_and_sold_and_a_repeat_is_approved_again(corner: Shop) -> None:
    held = await corner.stack.made((corner.item, 1))
    session_id = await agents_session(corner, held["holdId"])
    request = order(session_id, held["holdId"])
    attached = await corner.stack.post(held["holdId"], "payment", {"checkoutSessionId": session_id})
    assert attached.status_code == 200, attached.text
    assert [(await ask(corner, request)).json() for _ in range(2)] == [APPROVED, APPROVED]

    await corner.pay(session_id)

    await corner.until_status(held["holdId"], "committed")
    [asked] = [each for each in await corner.stripe.control("/approvals", "GET") if each["session"] == session_id]
    assert (asked["status"], asked["approved"]) == (200, True)
    assert (await ask(corner, request)).json() == APPROVED
    assert "complete already" in reason(await ask(corner, order("cs_test_other", held["holdId"])))
    assert await corner.stock() == (9, 0)


async def test_a_hold_that_is_released_after_the_approval_closes_the_page_and_nothing_is_charged(corner: Shop) -> None:
    made = await corner.checkout()
    by_session_alone = order(made["checkoutSessionId"])
    assert (await ask(corner, by_session_alone)).json() == APPROVED
    await corner.stack.post(made["holdId"], "release")

    assert (await try_to_pay(corner, made["checkoutSessionId"])).status_code == 400
    assert await payments_of(corner, made["checkoutSessionId"]) == []
    assert "no longer reserved" in reason(await ask(corner, by_session_alone))
    assert await corner.stock() == (10, 0)


async def test_a_hold_that_expires_is_refused_before_it_and_nothing_is_charged_after_it(
    running: Asked, corner: Shop, temporal: Client
) -> None:
    async with running_stack(
        running.database,
        temporal,
        with_worker=False,
        STRIPE_APPROVAL_SECRET=APPROVAL_SECRET,
        CHECKOUT_APPROVAL_SECONDS="0",
    ) as lenient:
        hold_id, session_id = await brief_checkout(corner, seconds=4)
        request = order(session_id, hold_id)
        assert "Too little time is left" in reason(await ask(corner, request))
        assert (await ask(corner, request, url=lenient.url)).json() == APPROVED

        await corner.until_status(hold_id, "expired")  # after the approval, before the payment
        assert (await try_to_pay(corner, session_id)).status_code == 400
        assert await payments_of(corner, session_id) == []
        for url in (None, lenient.url):
            assert "no longer reserved" in reason(await ask(corner, request, url=url))


async def test_a_page_that_was_replaced_is_refused_and_its_successor_approved(corner: Shop) -> None:
    made = await corner.checkout()
    page = {"items": [{**LINE, "sku": corner.item}], **PAGES}
    answer = await corner.stack.post(made["holdId"], "checkout", page)
    assert answer.status_code == 201, answer.text

    assert "replaced by a newer one" in reason(await ask(corner, order(made["checkoutSessionId"], made["holdId"])))
    successor = answer.json()["checkoutSessionId"]
    assert (await ask(corner, order(successor, made["holdId"]))).json() == APPROVED


async def test_another_api_process_gives_the_same_answer(running: Asked, corner: Shop, temporal: Client) -> None:
    held = await corner.stack.made((corner.item, 1))
    request = order(hold_id=held["holdId"])
    before = await ask(corner, request)
    async with running_stack(
        running.database, temporal, with_worker=False, STRIPE_APPROVAL_SECRET=APPROVAL_SECRET
    ) as restarted:
        assert (await ask(corner, request, url=restarted.url)).json() == before.json() == APPROVED
        await corner.stack.post(held["holdId"], "release")
        assert "no longer reserved" in reason(await ask(corner, request, url=restarted.url))


async def test_an_order_without_a_known_hold_is_refused(corner: Shop) -> None:
    before = corner.stack.counted("inventory_checkout_approval", result="unknown_hold")
    for request in (order(), order(hold_id="no-such-hold"), order("cs_test_unknown"), order(data=None), order(data=[])):
        assert "No items are reserved" in reason(await ask(corner, request))
    assert corner.stack.counted("inventory_checkout_approval", result="unknown_hold") == before + 5


async def test_an_order_of_the_other_mode_is_refused(corner: Shop) -> None:
    held = await corner.stack.made((corner.item, 1))
    assert "cannot be checked" in reason(await ask(corner, order(hold_id=held["holdId"], livemode=True)))


async def test_a_request_that_is_not_signed_with_the_approval_secret_is_not_answered(corner: Shop) -> None:
    held = await corner.stack.made((corner.item, 1))
    body = json.dumps(order(hold_id=held["holdId"])).encode()
    stale = signed(body, APPROVAL_SECRET, at=time.time() - 600)
    for signature in ("", "rubbish", stale, signed(body, SECRET), signed(body + b" ", APPROVAL_SECRET)):
        answer = await ask(corner, body, signature=signature)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_signature")
    assert (await ask(corner, body, signature=signed(body, NEXT_SECRET))).json() == APPROVED


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"1", b'"x"', b"{}", b'{"id": 1, "type": "a"}', b'{"id": "a", "type": 1}', b"[" * 9999],
)
async def test_a_signed_body_that_is_no_request_is_refused(corner: Shop, body: bytes) -> None:
    answer = await ask(corner, body)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_event")


async def test_a_request_of_another_type_gets_an_empty_answer(corner: Shop) -> None:
    answer = await ask(corner, order(type="v1.delegated_checkout.customize_checkout"))
    assert (answer.status_code, answer.json()) == (200, {})


async def test_nothing_is_approved_unchecked(database: str, temporal: Client) -> None:
    async with (
        wire_to(database) as wire,
        running_stack(wire.url, temporal, with_worker=False, STRIPE_APPROVAL_SECRET=APPROVAL_SECRET) as stack,
        running_stack(database, temporal, with_worker=False) as without_secret,
    ):
        body = json.dumps(order(hold_id="h-1")).encode()
        wire.cut()
        for url, error in ((stack.url, "inventory_unavailable"), (without_secret.url, "approval_not_configured")):
            answer = await stack.http.post(
                f"{url}/api/checkout/approvals",
                content=body,
                headers={"Stripe-Signature": signed(body, APPROVAL_SECRET)},
            )
            assert (answer.status_code, answer.json()["error"]) == (503, error)
