"""POST /api/checkout/sessions: a hold and a page to pay on, as one thing."""

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from temporalio.client import Client

from dev.harness.invariants import assert_stock_adds_up
from tests.api.asking import fields_of, fresh, neighbour, refused
from tests.paying import LINE, PAGES, Shop, named, running_shop
from tests.simulated import API_KEY
from tests.stack import SHOP
from tests.waiting import until

CHECKOUT = "/api/checkout/sessions"
CART = {"shopId": SHOP, "items": [LINE], **PAGES}
NOWHERE = "postgresql://nobody@127.0.0.1:9/nothing"


@pytest.fixture
async def looking(database: str, temporal: Client) -> AsyncIterator[Shop]:
    """A shop in validate_only."""
    async with running_shop(database, temporal, INVENTORY_MODE="validate_only") as running:
        yield running


def times(made: dict[str, Any], *names: str) -> list[datetime]:
    return [datetime.fromisoformat(made[name]) for name in names]


async def session(shop: Shop, session_id: str) -> dict[str, Any]:
    """Return a session, with its PaymentIntent, as Stripe has it."""
    found = await shop.stripe.stripe.v1.checkout.sessions.retrieve_async(session_id, {"expand": ["payment_intent"]})
    return dict(found.to_dict())


async def sessions(shop: Shop, hold_id: str) -> list[dict[str, Any]]:
    """Return the sessions that name a hold."""
    opened = await shop.stripe.control("/sessions", "GET")
    return [each for each in opened if each["metadata"].get("inventory_reservation_id") == hold_id]


async def test_a_paid_page_sells_the_hold(shop: Shop) -> None:
    made = await shop.checkout(reference="order-1")
    assert await shop.stack.stock_of() == (9, 1)

    await shop.pay(made["checkoutSessionId"])

    hold = await shop.until_status(made["holdId"], "committed")
    assert hold["reason"] == "payment"
    assert hold["checkoutSessionId"] == made["checkoutSessionId"]
    assert hold["paymentIntentId"] == await shop.intent_of(made["checkoutSessionId"])
    assert await shop.stack.stock_of() == (9, 0)
    assert shop.stack.counted("inventory_late_payment") == 0


async def test_a_page_that_costs_nothing_sells_the_hold_too(corner: Shop) -> None:
    made = await corner.checkout(items=[{**LINE, "sku": corner.item, "unitAmount": 0}])
    await corner.pay(made["checkoutSessionId"])
    hold = await corner.until_status(made["holdId"], "committed")
    assert (hold["checkoutSessionId"], hold["paymentIntentId"]) == (made["checkoutSessionId"], None)
    assert corner.stack.counted("inventory_late_payment") == 0


async def test_a_released_hold_closes_its_page_first(corner: Shop) -> None:
    made = await corner.checkout()

    answer = await corner.stack.post(made["holdId"], "release")

    assert answer.json()["status"] == "released"
    assert (await session(corner, made["checkoutSessionId"]))["status"] == "expired"
    assert await corner.stock() == (10, 0)


async def test_a_repeat_answers_the_same_hold_and_page(corner: Shop) -> None:
    key = fresh()
    first = await corner.ask_for_checkout(key=key)
    again = await corner.ask_for_checkout(key=key)

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    other = await corner.ask_for_checkout(key=key, successUrl="https://shop.example/other")
    refused(other, 409, "idempotency_conflict")
    assert len(await sessions(corner, first.json()["holdId"])) == 1
    assert await corner.stock() == (9, 1)


async def test_a_hold_made_without_a_page_is_another_request(corner: Shop) -> None:
    made = await corner.stack.made((corner.item, 1))
    refused(await corner.ask_for_checkout(holdId=made["holdId"]), 409, "idempotency_conflict")
    assert await sessions(corner, made["holdId"]) == []


@pytest.mark.parametrize(("verb", "status"), [("release", "released"), ("commit", "committed")])
async def test_a_repeat_for_a_hold_that_has_ended_has_nothing_to_pay(corner: Shop, verb: str, status: str) -> None:
    key = fresh()
    first = (await corner.ask_for_checkout(key=key)).json()
    await corner.stack.post(first["holdId"], verb, {"paidElsewhere": True} if verb == "commit" else None)

    again = await corner.ask_for_checkout(key=key)

    assert again.status_code == 200
    told = again.json()
    assert (told["holdId"], told["status"], told["url"]) == (first["holdId"], status, None)
    assert told["checkoutSessionId"] == first["checkoutSessionId"]


async def test_the_page_names_its_hold_on_the_session_and_on_the_payment(corner: Shop) -> None:
    made = await corner.checkout(metadata={"channel": "web", "note": ""}, reference=fresh("order"))
    await corner.pay(made["checkoutSessionId"])

    opened = await session(corner, made["checkoutSessionId"])

    order = (await corner.stack.read(made["holdId"]))["reference"]
    assert opened["metadata"] == {
        "channel": "web",
        "inventory_reference": order,
        "holdfast_page": "first",
        **named(made["holdId"]),
    }
    assert opened["payment_intent"]["metadata"] == opened["metadata"]
    assert opened["client_reference_id"] == order


async def test_the_page_has_the_lines_and_addresses_that_were_asked_for(corner: Shop) -> None:
    lines = [{**LINE, "sku": corner.item, "quantity": 2}, {**LINE, "sku": corner.item, "name": "Engraving"}]
    made = await corner.checkout(items=lines, locale="de", paymentMethodTypes=["card"])

    opened = await session(corner, made["checkoutSessionId"])

    assert (opened["amount_total"], opened["currency"]) == (3 * 1999, "eur")
    assert (opened["success_url"], opened["cancel_url"]) == (PAGES["successUrl"], PAGES["cancelUrl"])
    assert (opened["locale"], opened["payment_method_types"]) == ("de", ["card"])
    assert opened["url"] == made["url"]
    assert await corner.stock() == (7, 3)


async def test_a_price_that_stripe_has_is_charged(corner: Shop) -> None:
    price = await corner.stripe.stripe.v1.prices.create_async(
        {"currency": "eur", "unit_amount": 700, "product_data": {"name": "Tee"}}
    )
    made = await corner.checkout(items=[{"sku": corner.item, "quantity": 2, "price": price.id}])
    assert (await session(corner, made["checkoutSessionId"]))["amount_total"] == 1400


async def test_a_page_outlives_every_extension_of_its_hold(corner: Shop) -> None:
    made = await corner.checkout()
    opened = await session(corner, made["checkoutSessionId"])
    (created,) = times(await corner.stack.read(made["holdId"]), "createdAt")
    assert opened["expires_at"] == int((created + timedelta(minutes=65)).timestamp())

    extended = await corner.stack.post(made["holdId"], "extend", {"ttlSeconds": 3600})
    assert times(extended.json(), "expiresAt") == [created + timedelta(seconds=3600)]
    await corner.stripe.control("/clock", advance=3590)
    await corner.pay(made["checkoutSessionId"])
    await corner.until_status(made["holdId"], "committed")
    await corner.stripe.control("/clock", reset=True)


async def test_a_page_lives_35_minutes_where_holds_live_shorter(database: str, temporal: Client) -> None:
    async with running_shop(
        database, temporal, INVENTORY_HOLD_TTL_SECONDS="600", INVENTORY_HOLD_MAX_TTL_SECONDS="600"
    ) as shop:
        await shop.stripe.control("/faults", on="api", effect="error", match="checkout.sessions.create", times=4)
        made = await shop.checkout()
        opened = await session(shop, made["checkoutSessionId"])
        (created,) = times(await shop.stack.read(made["holdId"]), "createdAt")
        assert opened["expires_at"] == int((created + timedelta(minutes=35)).timestamp())
        assert len(await sessions(shop, made["holdId"])) == 1


async def test_manual_capture_takes_the_money_once_the_stock_is_sold(corner: Shop) -> None:
    made = await corner.checkout(captureMethod="manual")
    await corner.pay(made["checkoutSessionId"])
    await corner.until_status(made["holdId"], "committed")

    async def captured() -> bool:
        return bool((await corner.stripe.books(made["checkoutSessionId"]))["captured"] == 1999)

    await until(captured, "the money is captured")
    assert await corner.stock() == (9, 0)


async def test_a_cart_that_is_short_opens_no_page(corner: Shop) -> None:
    hold_id = fresh("h")
    answer = await corner.ask_for_checkout(items=[{**LINE, "sku": corner.item, "quantity": 11}], holdId=hold_id)

    told = refused(answer, 409, "insufficient_stock")
    assert told["items"] == [
        {"sku": corner.item, "variantKey": "", "requested": 11, "available": 10, "reason": "insufficient"}
    ]
    assert await sessions(corner, hold_id) == []
    assert await corner.stock() == (10, 0)


async def test_a_second_checkout_of_a_cart_closes_the_page_of_the_first(corner: Shop) -> None:
    cart = fresh("cart")
    first = await corner.checkout(reference=cart)
    told = refused(await corner.ask_for_checkout(reference=cart), 409, "hold_exists")
    assert told["holdId"] == first["holdId"]

    second = await corner.checkout(reference=cart, replace=True)

    assert (await session(corner, first["checkoutSessionId"]))["status"] == "expired"
    assert (await session(corner, second["checkoutSessionId"]))["status"] == "open"
    hold = await corner.stack.read(first["holdId"])
    assert (hold["status"], hold["reason"]) == ("released", "replaced")
    assert await corner.stock() == (9, 1)


async def test_a_cart_that_is_paid_in_that_moment_is_not_replaced(corner: Shop) -> None:
    cart = fresh("cart")
    first = await corner.checkout(reference=cart)
    page = first["checkoutSessionId"]
    await corner.stripe.control("/faults", on="api", effect="pay", match="checkout.sessions.expire", about=page)

    told = refused(await corner.ask_for_checkout(reference=cart, replace=True), 409, "hold_not_active")

    assert (told["holdId"], told["status"]) == (first["holdId"], "committed")
    assert await corner.stock() == (9, 0)


async def test_ids_as_long_as_they_may_be_fit_into_stripes_keys(sandbox: Shop) -> None:
    shop_id, hold_id = "s" * 128, "h" * 128
    item = {"shopId": shop_id, "items": [{"sku": "TEE", "onHand": 1}]}
    await sandbox.stack.http.put("/api/inventory/items", json=item)
    answer = await sandbox.ask_for_checkout(shopId=shop_id, holdId=hold_id, items=[LINE])
    assert answer.status_code == 201, answer.text
    assert len(await sessions(sandbox, hold_id)) == 1


async def test_a_key_of_metadata_that_utf_8_cannot_encode_is_refused(sandbox: Shop) -> None:
    body = json.dumps({**CART, "metadata": {"\ud800": "x"}})
    answer = await sandbox.stack.http.post(CHECKOUT, content=body, headers={"Content-Type": "application/json"})
    assert [each for each in fields_of(answer) if each.startswith("metadata")]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"successUrl": "shop.example/paid"}, "successUrl"),
        ({"successUrl": None}, "successUrl"),
        ({"cancelUrl": "javascript:alert(1)"}, "cancelUrl"),
        ({"successUrl": "https://shop.example/\0"}, "successUrl"),
        ({"cancelUrl": "https://shop.example\x7f"}, "cancelUrl"),
        ({"metadata": {"channel": "we\0b"}}, "metadata.channel"),
        ({"metadata": {"chan\0nel": "web"}}, "metadata"),
        ({"locale": "9"}, "locale"),
        ({"items": []}, "items"),
        ({"items": [{"sku": "TEE", "quantity": 1}]}, "items[0]"),
        ({"items": [{**LINE, "price": "price_1"}]}, "items[0]"),
        ({"items": [{**LINE, "currency": None}]}, "items[0]"),
        ({"items": [{**LINE, "currency": "euro"}]}, "items[0].currency"),
        ({"items": [{**LINE, "unitAmount": -1}]}, "items[0].unitAmount"),
        ({"items": [{**LINE, "unitAmount": 19.99}]}, "items[0].unitAmount"),
        ({"items": [{**LINE, "amount": 1999}]}, "items[0].amount"),
        ({"metadata": {"shop_id": "another"}}, "metadata"),
        ({"metadata": {"inventory_reservation_id": "h1"}}, "metadata"),
        ({"metadata": {"k" * 41: "v"}}, "metadata"),
        ({"ttlSeconds": 7200}, "ttlSeconds"),
        ({"captureMethod": "later"}, "captureMethod"),
        ({"paymentMethodTypes": []}, "paymentMethodTypes"),
        ({"succesUrl": "https://shop.example"}, "succesUrl"),
    ],
)
async def test_what_is_wrong_with_a_request_is_named(sandbox: Shop, changes: dict[str, Any], field: str) -> None:
    answer = await sandbox.stack.http.post(CHECKOUT, json={**CART, **changes})
    fields = fields_of(answer)
    assert "pattern" not in answer.json()["message"]
    assert [each for each in fields if each.startswith(field)], fields


async def test_validate_only_opens_a_page_and_holds_nothing(looking: Shop) -> None:
    answer = await looking.ask_for_checkout()

    assert answer.status_code == 201
    told = answer.json()
    assert (told["holdId"], told["mode"], told["bypassed"]) == (None, "validate_only", False)
    opened = await session(looking, told["checkoutSessionId"])
    assert (opened["url"], opened["metadata"]) == (told["url"], {"shop_id": SHOP})
    assert await looking.stack.stock_of() == (10, 0)
    await looking.pay(told["checkoutSessionId"])
    await looking.until_delivered()
    assert await looking.stack.stock_of() == (10, 0)


async def test_validate_only_refuses_what_is_short_and_repeats_by_key(looking: Shop) -> None:
    refused(await looking.ask_for_checkout(items=[{**LINE, "quantity": 11}]), 409, "insufficient_stock")
    key = "k" * 255
    told = [(await looking.ask_for_checkout(key=key)).json() for _ in range(2)]
    assert told[0] == told[1]
    assert len(await looking.stripe.control("/sessions", "GET")) == 1
    refused(await looking.ask_for_checkout(key=key, locale="de"), 409, "idempotency_conflict")


async def test_without_a_hold_stripes_refusals_are_told_just_so(looking: Shop) -> None:
    unknown = {"sku": "TEE", "quantity": 1, "price": "price_x"}
    told = refused(await looking.ask_for_checkout(items=[unknown]), 422, "checkout_refused")
    assert told["param"] == "line_items[0][price]"
    await looking.stripe.control("/faults", on="api", effect="error", status=429)
    refused(await looking.ask_for_checkout(), 503, "payment_provider_unavailable")


async def test_under_bypass_a_page_opens_without_postgres_and_temporal(
    sandbox: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:9")
    async with neighbour(
        sandbox.stack,
        DATABASE_URL=NOWHERE,
        SKIP_INVENTORY_VALIDATION="1",
        STRIPE_API_KEY=API_KEY,
        STRIPE_API_BASE=sandbox.stripe.url,
    ) as http:
        answer = await http.post(CHECKOUT, json=CART)
    assert answer.status_code == 201
    assert (answer.json()["holdId"], answer.json()["bypassed"]) == (None, True)
    assert (await session(sandbox, answer.json()["checkoutSessionId"]))["status"] == "open"


@pytest.mark.parametrize("mode", ["reserve_ttl", "validate_only"])
@pytest.mark.parametrize("bypass", ["0", "1"])
async def test_without_stripes_key_nothing_is_held(corner: Shop, mode: str, bypass: str) -> None:
    async with neighbour(corner.stack, INVENTORY_MODE=mode, SKIP_INVENTORY_VALIDATION=bypass) as http:
        answer = await http.post(CHECKOUT, json={**CART, "items": [{**LINE, "sku": corner.item}]})
    refused(answer, 503, "payments_not_configured")
    assert await corner.stock() == (10, 0)


async def test_who_has_no_token_opens_nothing(sandbox: Shop) -> None:
    async with httpx.AsyncClient(base_url=sandbox.stack.url) as stranger:
        refused(await stranger.post(CHECKOUT, json=CART), 401, "unauthorized")


async def test_after_all_of_this_the_stock_adds_up(sandbox: Shop) -> None:
    await assert_stock_adds_up(sandbox.stack.engine)
