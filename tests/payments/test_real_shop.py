"""A shop that ships: address, shipping rates, tax, promotion code and invoice, on Stripe's page and on its own."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import generate_latest
from structlog.testing import capture_logs
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from core.database import fetch
from core.request_context import add_request
from dev.harness.invariants import assert_stock_adds_up
from dev.postgres import EmbeddedPostgres
from holds.event_delivery import background_task_queue
from inventory.checkout_parameters import delete_parameters_of_ended_holds
from tests.api.asking import fresh, neighbour, refused
from tests.paying import LINE, PAGES, Shop, running_shop
from tests.receivers import SECRET, Receiver, receiving
from tests.servers import database_on
from tests.simulated import API_KEY
from tests.stack import SHOP
from tests.waiting import until
from workflows.messages import Checkout
from workflows.payment_messages import CheckoutRefused, OpenCheckout

BUYER = {
    "email": "ann.buyer@mail.example",
    "name": "Annabel Buyerson",
    "line1": "77 Elderberry Crescent",
    "city": "Nuremberg",
    "postal_code": "QX7 ZZ9",
    "country": "DE",
}
PERSONAL = [BUYER["email"], "Annabel", "Buyerson", "Elderberry", "Nuremberg", "QX7 ZZ9", "Willow Walk", "+4991155501"]
SHIPPING = [
    {"shipping_rate_data": {"display_name": name, "fixed_amount": {"amount": amount, "currency": "eur"}}}
    for name, amount in (("Post", 490), ("Express", 1490))
]
SHIPS: dict[str, Any] = {
    "shipping_address_collection": {"allowed_countries": ["DE", "AT"]},
    "shipping_options": SHIPPING,
    "automatic_tax": {"enabled": True},
    "allow_promotion_codes": True,
    "invoice_creation": {"enabled": True},
    "customer_email": BUYER["email"],
    "phone_number_collection": {"enabled": False},
    "payment_intent_data": {
        "receipt_email": BUYER["email"],
        "shipping": {
            "name": BUYER["name"],
            "phone": "+4991155501",
            "address": {"line1": "5 Willow Walk", "city": BUYER["city"], "country": "DE"},
        },
    },
    "custom_text": {"submit": {"message": f"Thank you, {BUYER['name']}"}},
}
GIFT = {"name": "Gift wrap", "unitAmount": 300, "currency": "eur", "taxBehavior": "exclusive"}


@pytest.fixture(scope="module")
async def told() -> AsyncIterator[Receiver]:
    async with receiving() as running:
        yield running


@pytest.fixture(scope="module")
async def ships(
    postgres: EmbeddedPostgres, migrated_template: str, temporal: Client, told: Receiver
) -> AsyncIterator[Shop]:
    """A shop whose events go to a receiver."""
    events: dict[str, Any] = {"HOLD_EVENTS_WEBHOOK_URL": told.url, "HOLD_EVENTS_WEBHOOK_SECRET": SECRET}
    with database_on(postgres, migrated_template) as database:
        async with running_shop(database, temporal, **events) as running:
            yield running


@pytest.fixture
async def shop(ships: Shop) -> Shop:
    """The same with ten of an item that no other test asks for."""
    return await ships.corner()


async def session(shop: Shop, session_id: str) -> dict[str, Any]:
    found = await shop.stripe.stripe.v1.checkout.sessions.retrieve_async(session_id, {"expand": ["line_items"]})
    return dict(found.to_dict())


async def kept(shop: Shop, hold_id: str) -> int:
    """Return of how many pages of the hold the parameters are kept."""
    counted = 'SELECT count(*) AS n FROM "InventoryCheckoutParameters" WHERE "holdId" = %(hold)s'
    return int((await fetch(shop.stack.engine, counted, {"hold": hold_id}))[0]["n"])


async def histories(shop: Shop, hold_id: str) -> str:
    """Return what Temporal has of the hold, of its events and alerts: every payload in plain text."""
    queue, found = background_task_queue(shop.stack.task_queue), []
    query = f'WorkflowId = "hold:{SHOP}:{hold_id}" OR TaskQueue = "{queue}"'
    async for run in shop.stack.temporal.list_workflows(query):
        handle = shop.stack.temporal.get_workflow_handle(run.id, run_id=run.run_id)
        found += [str(event) for event in (await handle.fetch_history()).events]
    return "".join(found)


async def rows(shop: Shop) -> str:
    """Return every row of every table, as text."""
    listed = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    tables = [row["tablename"] for row in await fetch(shop.stack.engine, listed, {})]
    read = [await fetch(shop.stack.engine, f'SELECT to_jsonb(t)::text AS row FROM "{each}" t', {}) for each in tables]
    return str(read)


async def test_a_shirt_is_shipped_and_nothing_readable_is_kept_of_who_bought_it(shop: Shop, told: Receiver) -> None:
    coupon = await shop.stripe.stripe.v1.coupons.create_async({"percent_off": 10.0})
    code = fresh("SPRING")
    promotion: Any = {"promotion": {"type": "coupon", "coupon": coupon.id}, "code": code}
    await shop.stripe.stripe.v1.promotion_codes.create_async(promotion)
    shirt = {**LINE, "sku": shop.item, "description": "Organic cotton", "images": ["https://shop.example/tee.png"]}
    shirt |= {"taxCode": "txcd_30011000", "taxBehavior": "exclusive", "productData": {"unit_label": "shirt"}}
    with capture_logs(processors=[add_request]) as lines:
        made = await shop.checkout(items=[shirt], extraLines=[GIFT], stripe=SHIPS)
        assert (made["amountTotal"], made["currency"], made["clientSecret"]) == (1999 + 300 + 490, "eur", None)
        assert await shop.stock() == (9, 1)
        assert await kept(shop, made["holdId"]) == 1
        assert await delete_parameters_of_ended_holds(shop.stack.engine) == 0
        sold = await session(shop, made["checkoutSessionId"])
        names = [each["description"] for each in sold["line_items"]["data"]]
        assert (names, sold["customer_email"]) == (["T-shirt", "Gift wrap"], BUYER["email"])

        express = sold["shipping_options"][1]["shipping_rate"]
        entered = {**BUYER, "shipping_rate": express, "promotion_code": code}
        await shop.stripe.control(f"/sessions/{made['checkoutSessionId']}/enter", **entered)
        await shop.pay(made["checkoutSessionId"])
        hold = await shop.until_status(made["holdId"], "committed")
        await until(lambda: "hold.committed" in told.of(made["holdId"]), "the event is sent")

    discounted = 2299 - 230
    assert (hold["amountTotal"], hold["currency"]) == (discounted + 1490 + round((discounted + 1490) * 0.2), "eur")
    paid = await session(shop, made["checkoutSessionId"])
    assert paid["collected_information"]["shipping_details"]["address"]["city"] == BUYER["city"]
    invoice = await shop.stripe.stripe.v1.invoices.retrieve_async(paid["invoice"])
    assert (invoice.total, invoice.status) == (hold["amountTotal"], "paid")
    await delete_parameters_of_ended_holds(shop.stack.engine)
    assert await kept(shop, made["holdId"]) == 0
    metrics = generate_latest(shop.stack.api_metrics) + generate_latest(shop.stack.worker_metrics)
    history = await histories(shop, made["holdId"])
    assert shop.item in history
    everything = history + await rows(shop) + str(lines) + str(told.taken) + metrics.decode()
    assert [word for word in PERSONAL if word.lower() in everything.lower()] == []


@pytest.mark.parametrize("mode", ["embedded_page", "elements"])
async def test_a_page_of_the_shops_own_gets_a_client_secret(shop: Shop, mode: str) -> None:
    key, back = fresh(), "https://shop.example/back?session={CHECKOUT_SESSION_ID}"
    own = {"successUrl": None, "cancelUrl": None, "stripe": {"ui_mode": mode, "return_url": back}}
    answers = [await shop.ask_for_checkout(key=key, **own) for _ in range(2)]
    assert [each.status_code for each in answers] == [201, 200], answers[0].text
    made = answers[0].json()
    assert answers[1].json() == made
    assert made["url"] is None
    assert made["clientSecret"].startswith(f"{made['checkoutSessionId']}_secret_")
    own["stripe"] = {"ui_mode": mode, "return_url": "https://shop.example/other"}
    refused(await shop.ask_for_checkout(key=key, **own), 409, "idempotency_conflict")

    await shop.pay(made["checkoutSessionId"])

    assert (await shop.until_status(made["holdId"], "committed"))["amountTotal"] == 1999


@pytest.mark.parametrize(("currency", "amount", "total"), [("jpy", 500, 500), ("KWD", 5120, 5120), ("eur", 0, 0)])
async def test_a_hold_says_what_was_paid_for_it(shop: Shop, currency: str, amount: int, total: int) -> None:
    line = {**LINE, "sku": shop.item, "unitAmount": amount, "currency": currency}
    made = await shop.checkout(items=[line])
    assert (made["amountTotal"], made["currency"]) == (total, currency.lower())
    await shop.pay(made["checkoutSessionId"])
    hold = await shop.until_status(made["holdId"], "committed")
    assert (hold["amountTotal"], hold["currency"]) == (total, currency.lower())


async def test_an_order_that_a_code_makes_free_is_sold(shop: Shop) -> None:
    coupon = await shop.stripe.stripe.v1.coupons.create_async({"percent_off": 100.0})
    made = await shop.checkout(stripe={"discounts": [{"coupon": coupon.id}]})
    assert made["amountTotal"] == 0
    await shop.pay(made["checkoutSessionId"])
    hold = await shop.until_status(made["holdId"], "committed")
    assert (hold["amountTotal"], hold["paymentIntentId"]) == (0, None)


async def test_another_page_of_a_hold_has_its_own_extra_lines_and_parameters(shop: Shop) -> None:
    made = await shop.stack.made((shop.item, 1))
    body = {"items": [{**LINE, "sku": shop.item}], "extraLines": [GIFT], **PAGES, "stripe": {"submit_type": "book"}}
    answer = await shop.stack.post(made["holdId"], "checkout", body)
    assert answer.status_code == 201, answer.text
    assert answer.json()["amountTotal"] == 2299
    assert (await session(shop, answer.json()["checkoutSessionId"]))["submit_type"] == "book"
    assert ((await shop.stack.read(made["holdId"]))["amountTotal"], await shop.stock()) == (2299, (9, 1))


async def test_what_stripe_refuses_of_a_buyer_is_said_without_the_buyer(shop: Shop) -> None:
    hold_id = fresh("h")
    with capture_logs(processors=[add_request]) as lines:
        options = {"shipping_options": [{"shipping_rate": BUYER["name"]}], "customer_email": BUYER["email"]}
        told = refused(await shop.ask_for_checkout(holdId=hold_id, stripe=options), 422, "checkout_refused")
        assert (told["param"], told["message"]) == (
            "shipping_options[0][shipping_rate]",
            "No such shipping_rate: '[…]'",
        )
        await shop.until_status(hold_id, "released")
    history = await histories(shop, hold_id)
    assert shop.item in history
    assert [word for word in PERSONAL if word.lower() in (history + str(lines)).lower()] == []


async def test_without_the_secret_or_with_another_nothing_is_held_for_such_a_checkout(shop: Shop) -> None:
    body = {"shopId": SHOP, "items": [{**LINE, "sku": shop.item}], **PAGES, "stripe": {"submit_type": "book"}}
    stripe: dict[str, Any] = {"STRIPE_API_KEY": API_KEY, "STRIPE_API_BASE": shop.stripe.url}
    for secret in ("", "d" * 40):
        async with neighbour(
            shop.stack, **stripe, HOLDFAST_CHECKOUT_SECRET=secret, INVENTORY_MODE="reserve_ttl"
        ) as http:
            told = refused(await http.post("/api/checkout/sessions", json=body), 503, "payments_not_configured")
        assert "HOLDFAST_CHECKOUT_SECRET" in told["message"]

    async def given_back() -> bool:
        return await shop.stock() == (10, 0)

    await until(given_back, "the stock is given back")


async def test_a_worker_of_an_earlier_release_opens_no_page_without_these_parameters(shop: Shop) -> None:
    now = datetime.now(UTC)
    as_it_reads = OpenCheckout(SHOP, "h-1", Checkout({}, "of-parameters").params, now + timedelta(hours=1), now)
    opened = await ActivityEnvironment().run(shop.stack.payments.open_checkout, as_it_reads)
    assert isinstance(opened, CheckoutRefused)


async def test_after_all_of_this_the_stock_adds_up(ships: Shop) -> None:
    await assert_stock_adds_up(ships.stack.engine)
