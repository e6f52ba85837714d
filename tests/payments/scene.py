"""The product as processes with the simulated Stripe, and holds at a point at which a test kills their worker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg

from dev.harness.stock import stock_of
from dev.postgres import EmbeddedPostgres
from dev.temporal import EmbeddedTemporal
from tests.e2e.deployment import Deployment, deployed
from tests.paying import LINE, PAGES, named
from tests.servers import database_on
from tests.simulated import API_KEY, SECRET, Simulated, simulated
from tests.stack import SHOP
from tests.waiting import LIMIT_SECONDS, until

HANGS = 300
"""Seconds for which a call is not answered: until its worker is killed."""
SOLD, GIVEN_BACK = (9, 0), (10, 0)


@dataclass
class Scene:
    """The product as processes, and holds by the name of their race; each has an item of its own by the same name."""

    product: Deployment
    stripe: Simulated
    pages: dict[str, str] = field(default_factory=dict)
    asked: dict[str, "asyncio.Task[httpx.Response]"] = field(default_factory=dict)
    sent: dict[str, tuple[str, str, dict[str, Any]]] = field(default_factory=dict)
    """The last request with a key about each hold: method, path and body."""

    async def checkout(self, *names: str, **fields: Any) -> None:
        """Make holds with a page to pay on, ten of the item in the house."""
        for name in names:
            await self.product.put(name, 10)
            body = {"shopId": SHOP, "holdId": name, "items": [{**LINE, "sku": name}], **PAGES, **fields}
            answer = await self.product.http.post("/api/checkout/sessions", json=body)
            assert answer.status_code == 201, answer.text
            self.pages[name] = answer.json()["checkoutSessionId"]

    async def fault(self, name: str, on: str, effect: str, match: str, **fields: Any) -> None:
        """Put a rule in force that concerns this hold's page only."""
        about = self.pages[name]
        await self.stripe.control("/faults", on=on, effect=effect, match=match, about=about, **fields)

    async def hang(self, name: str, call: str, when: str = "before") -> None:
        """Have the worker wait in vain for Stripe's answer to this call."""
        await self.fault(name, "api", "timeout", call, when=when, seconds=HANGS, times=None)

    async def tell_nobody(self, name: str) -> None:
        await self.fault(name, "webhook", "drop", "*", times=None)

    async def pay(self, name: str, **fields: Any) -> None:
        await self.stripe.control(f"/sessions/{self.pages[name]}/pay", **fields)

    async def expire(self, name: str) -> None:
        await self.stripe.control(f"/sessions/{self.pages[name]}/expire")

    def ask(self, name: str, verb: str, body: dict[str, Any] | None = None) -> None:
        """Ask for something without waiting for the answer: the worker that should give it dies."""
        self.asked[f"{name} {verb}"] = asyncio.create_task(self.product.post(name, verb, body))

    def send(self, name: str, method: str, path: str, body: dict[str, Any]) -> None:
        """Send a request about a hold, with a key, without waiting for the answer; `again` sends it once more."""
        self.sent[name] = (method, path, body)
        self.asked[f"{name} {path}"] = asyncio.create_task(self._send(name))

    async def _send(self, name: str) -> httpx.Response:
        method, path, body = self.sent[name]
        return await self.product.http.request(method, path, json=body, headers={"Idempotency-Key": path})

    async def again(self, name: str) -> dict[str, Any]:
        """Send the request again until its answer is known, and return that."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while (answer := await self._send(name)).status_code in (429, 503, 504):
                await asyncio.sleep(0.1)
        assert answer.status_code in (200, 201), answer.text
        told: dict[str, Any] = answer.json()
        return told

    def change(self, name: str, quantity: int) -> None:
        """Ask for other units in the hold."""
        items = [{"sku": name, "quantity": quantity}]
        self.send(name, "PATCH", f"/api/inventory/holds/{SHOP}/{name}", {"items": items})

    def change_and_pay(self, name: str, quantity: int) -> None:
        """Ask for a page to pay on for other units in the hold."""
        body = {"items": [{**LINE, "sku": name, "quantity": quantity}], **PAGES}
        self.send(name, "POST", f"/api/inventory/holds/{SHOP}/{name}/checkout", body)

    async def open_pages(self, name: str) -> list[str]:
        """Return the hold's pages on which somebody can pay."""
        sessions = self.stripe.account.store.sessions.values()
        of_hold = [each for each in sessions if each.metadata.get("inventory_reservation_id") == name]
        return [each.id for each in of_hold if each.status == "open"]

    async def heard(self, name: str, kind: str) -> None:
        """Wait until Stripe's word has been acknowledged."""

        async def is_so() -> bool:
            sent = await self.stripe.control("/webhooks", "GET")
            return any(d["about"] == self.pages[name] and d["type"] == kind and 200 in d["answers"] for d in sent)

        await until(is_so, f"{kind} of {name} heard")

    async def all_fired(self) -> bool:
        calls = [rule for rule in await self.stripe.control("/faults", "GET") if rule["on"] == "api"]
        return all(rule["fired"] for rule in calls)

    async def second_page(self, name: str) -> str:
        """Open another page of the shop's own for the hold, and return its id."""
        opened = await self.stripe.stripe.v1.checkout.sessions.create_async(
            {
                "mode": "payment",
                "success_url": PAGES["successUrl"],
                "line_items": [
                    {
                        "quantity": 1,
                        "price_data": {"currency": "eur", "unit_amount": 1999, "product_data": {"name": "T-shirt"}},
                    }
                ],
                "metadata": named(name),
                "payment_intent_data": {"metadata": named(name)},
            }
        )
        return opened.id

    async def attach_second(self, name: str) -> httpx.Response:
        return await self.product.post(name, "payment", {"checkoutSessionId": self.pages[f"{name} 2"]})

    async def books(self, name: str) -> dict[str, Any]:
        return await self.stripe.books(self.pages[name])

    async def stock(self, name: str) -> tuple[int, int]:
        return await stock_of(self.product.engine, name)

    async def until_status(self, name: str, status: str) -> dict[str, Any]:
        async def is_so() -> bool:
            return await self.product.status(name) == status

        await until(is_so, f"{name} {status}")
        row = await self.product.row(name)
        assert row is not None
        return row

    async def sold_once(self, name: str, reason: str = "payment", units: int = 1) -> None:
        """Check that the hold was sold once, for money that was taken once."""
        row = await self.until_status(name, "committed")
        assert (row["reason"], row["moves"]) == (reason, 1)
        assert row["paymentIntentId"] == (await self.books(name))["payment_intent"]
        assert (await self.books(name))["net"] == units * LINE["unitAmount"]
        assert await self.stock(name) == (10 - units, 0)

    async def given_back_once(self, name: str) -> None:
        """Check that the hold was given back once, and that nobody has paid or still can."""
        row = await self.until_status(name, "released")
        assert row["moves"] == 0
        assert await self.stock(name) == GIVEN_BACK
        session = await self.stripe.stripe.v1.checkout.sessions.retrieve_async(self.pages[name])
        assert (session.status, session.payment_status) == ("expired", "unpaid")


@asynccontextmanager
async def locked(database: str, *skus: str) -> AsyncIterator[None]:
    """Hold the items' row locks: a settle that was decided is not done."""
    async with await psycopg.AsyncConnection.connect(database) as connection:
        await connection.execute('SELECT FROM "InventoryItem" WHERE sku = ANY(%s) FOR UPDATE', [list(skus)])
        yield
        await connection.rollback()


@asynccontextmanager
async def running(postgres: EmbeddedPostgres, template: str, folder: Any) -> AsyncIterator[Scene]:
    """Run API and simulator, and a Temporal of the module's own, without a worker."""
    temporal = EmbeddedTemporal(None, ui=False)
    await asyncio.to_thread(temporal.start)
    try:
        async with AsyncExitStack() as stack:
            stripe = await stack.enter_async_context(simulated())
            changes = {"STRIPE_API_KEY": API_KEY, "STRIPE_API_BASE": stripe.url, "STRIPE_WEBHOOK_SECRET": SECRET}
            database = stack.enter_context(database_on(postgres, template))
            product = await stack.enter_async_context(deployed(folder, database, temporal.address, **changes))
            hook = {"url": f"{product.http.base_url}/api/webhooks/stripe", "secrets": [SECRET]}
            await stripe.control("/webhooks/endpoints", "PUT", endpoints=[hook])
            yield Scene(product, stripe)
    finally:
        await asyncio.to_thread(temporal.stop)
