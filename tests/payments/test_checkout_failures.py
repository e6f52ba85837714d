"""A page that Stripe will not open, or not now: no stock leaks, nobody gets two pages, everybody is told."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from temporalio.client import Client

from dev.harness.invariants import assert_stock_adds_up
from tests.api import asking
from tests.api.asking import fresh, neighbour, refused
from tests.paying import LINE, PAGES, Shop, running_shop
from tests.simulated import API_KEY
from tests.stack import SHOP, Stack
from tests.waiting import until


@pytest.fixture(scope="module")
async def hurried(sandbox: Shop) -> AsyncIterator[Shop]:
    """The same shop by an API that waits five seconds: longer than a reserve takes, shorter than Stripe's faults."""
    async with neighbour(
        sandbox.stack,
        INVENTORY_REQUEST_TIMEOUT_MS="5000",
        STRIPE_API_KEY=API_KEY,
        STRIPE_API_BASE=sandbox.stripe.url,
    ) as http:
        yield Shop(replace(sandbox.stack, http=http), sandbox.stripe)


@pytest.fixture
async def impatient(hurried: Shop) -> Shop:
    return await hurried.corner()


async def fail(shop: Shop, call: str = "checkout.sessions.create", effect: str = "error", **fields: Any) -> None:
    await shop.stripe.control("/faults", on="api", effect=effect, match=call, **fields)


async def mend(shop: Shop) -> None:
    await shop.stripe.control("/faults", "DELETE")


async def pages(shop: Shop, hold_id: str) -> list[str]:
    """Return how the sessions stand that name a hold."""
    opened = await shop.stripe.control("/sessions", "GET")
    return [each["status"] for each in opened if each["metadata"].get("inventory_reservation_id") == hold_id]


async def insist(shop: Shop, key: str) -> httpx.Response:
    """Ask with a key until there is an answer."""
    return await asking.insist(lambda: shop.ask_for_checkout(key=key))


@pytest.mark.parametrize(
    ("second", "param"),
    [
        ({"price": "price_nowhere"}, "line_items[1][price]"),
        ({"name": "Car", "unitAmount": 99_999_999, "currency": "eur"}, "line_items"),
    ],
)
async def test_what_stripe_refuses_names_the_parameter_and_holds_nothing(
    corner: Shop, second: dict[str, Any], param: str
) -> None:
    lines = [{**LINE, "sku": corner.item}, {"sku": corner.item, "quantity": 2, **second}]
    key = fresh()
    told = refused(await corner.ask_for_checkout(key=key, items=lines), 422, "checkout_refused")
    assert told["param"] == param
    hold = await corner.until_status(told["holdId"], "released")
    assert hold["reason"] == "checkout_refused"
    assert await corner.stock() == (10, 0)
    again = await corner.ask_for_checkout(key=key, items=lines)
    assert (again.status_code, again.json()["status"], again.json()["url"]) == (200, "released", None)


async def test_a_key_that_stripe_does_not_know_is_no_fault_of_the_callers(database: str, temporal: Client) -> None:
    async with running_shop(database, temporal, stripe={"api_key": "sk_test_another"}) as shop:
        told = refused(await shop.ask_for_checkout(), 502, "payment_provider_refused")
        assert "Invalid API Key" in told["message"]
        hold = await shop.until_status(told["holdId"], "released")
        assert hold["reason"] == "checkout_refused"
        assert await shop.stock() == (10, 0)
        assert shop.stack.counted("inventory_checkout_refused") == 1


async def test_a_worker_without_stripes_key_holds_nothing_for_long(stack: Stack) -> None:
    await stack.put(10)
    body = {"shopId": SHOP, "items": [LINE], **PAGES}
    async with neighbour(stack, STRIPE_API_KEY=API_KEY, STRIPE_API_BASE="http://127.0.0.1:9") as http:
        told = refused(await http.post("/api/checkout/sessions", json=body), 503, "payments_not_configured")
    assert "worker" in told["message"]
    await stack.run_of(told["holdId"]).result()
    assert await stack.stock_of() == (10, 0)


async def test_while_stripe_is_away_the_stock_is_held_and_the_key_finds_the_page_later(impatient: Shop) -> None:
    key = fresh()
    await fail(impatient, "*", status=429, times=None)
    told = refused(await impatient.ask_for_checkout(key=key), 504, "inventory_timeout")
    assert await impatient.stock() == (9, 1)

    await mend(impatient)
    answer = await insist(impatient, key)

    assert (answer.status_code, answer.json()["holdId"]) == (200, told["holdId"])
    assert answer.json()["url"]
    assert (await insist(impatient, key)).json() == answer.json()
    assert await pages(impatient, told["holdId"]) == ["open"]


async def test_an_outage_of_500s_ends_with_one_page(impatient: Shop) -> None:
    key = fresh()
    await fail(impatient, times=None)
    refused(await impatient.ask_for_checkout(key=key), 504, "inventory_timeout")
    await mend(impatient)
    answer = await insist(impatient, key)
    assert answer.status_code == 200
    assert await pages(impatient, answer.json()["holdId"]) == ["open"]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_page_whose_opening_was_not_answered_is_the_one_that_the_shopper_gets(
    impatient: Shop, when: str
) -> None:
    key = fresh()
    await fail(impatient, effect="timeout", when=when, seconds=60)
    told = refused(await impatient.ask_for_checkout(key=key), 504, "inventory_timeout")
    await mend(impatient)
    answer = await insist(impatient, key)
    assert await pages(impatient, told["holdId"]) == ["open"]
    await impatient.pay(answer.json()["checkoutSessionId"])
    await impatient.until_status(told["holdId"], "committed")


async def test_a_hold_released_while_its_page_opens_leaves_no_page_to_pay_on(impatient: Shop) -> None:
    hold_id = fresh("h")
    await fail(impatient, effect="timeout", when="after", seconds=60)
    refused(await impatient.ask_for_checkout(holdId=hold_id), 504, "inventory_timeout")

    still = await impatient.stack.post(hold_id, "release")
    assert (still.status_code, still.json()["ending"]) == (202, "release")
    assert await impatient.stock() == (9, 1)

    await mend(impatient)
    await impatient.until_status(hold_id, "released")
    assert await pages(impatient, hold_id) == ["expired"]
    assert await impatient.stock() == (10, 0)


async def test_a_hold_committed_while_its_page_opens_waits_for_nobody(impatient: Shop) -> None:
    hold_id = fresh("h")
    await fail(impatient, effect="delay", seconds=60)
    asked = asyncio.create_task(impatient.ask_for_checkout(holdId=hold_id))

    async def held() -> bool:
        return await impatient.stock() == (9, 1)

    await until(held, "the stock is held")
    assert (await impatient.stack.post(hold_id, "commit")).json()["status"] == "committed"
    assert (await asked).status_code in (201, 504)
    await mend(impatient)
    assert await impatient.stock() == (9, 0)


async def test_after_all_of_this_the_stock_adds_up(sandbox: Shop) -> None:
    await assert_stock_adds_up(sandbox.stack.engine)
