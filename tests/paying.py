"""A shop under test: the product, whole, and the Stripe simulator, which calls its webhook."""

import hashlib
import hmac
import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
from temporalio.client import Client, WorkflowHandle

from domain.holds import Line
from holds.workflow_client import WorkflowClient
from payments.session_params import Order, PaidLine, session_params
from tests.simulated import API_KEY, SECRET, Simulated, simulated
from tests.stack import SHOP, Stack, running_stack
from tests.waiting import until
from workflows.late_payment import LatePaymentWorkflow
from workflows.messages import Checkout, HoldInput
from workflows.payment_messages import CheckoutOpened, LatePaymentEnded, late_payment_workflow_id

LINE: dict[str, Any] = {"sku": "TEE", "quantity": 1, "name": "T-shirt", "unitAmount": 1999, "currency": "eur"}
PAGES = {"successUrl": "https://shop.example/paid", "cancelUrl": "https://shop.example/cart"}


@dataclass
class Shop:
    """What a test of payments holds: the product and Stripe's stand-in."""

    stack: Stack
    stripe: Simulated
    item: str = "TEE"
    """What its checkouts hold."""

    async def corner(self) -> "Shop":
        """Return the same shop with ten of an item that nobody else asks for, and nothing amiss with Stripe."""
        item = f"TEE-{uuid.uuid4().hex}"
        await self.stripe.control("/faults", "DELETE")
        await self.stack.put(10, item)
        return replace(self, item=item)

    async def renew(self) -> None:
        """Make it as good as new for the next test, Stripe's stand-in too."""
        await self.stripe.control("/reset")
        await self.stack.renew()
        await self.open()

    async def open(self) -> None:
        """Have Stripe's webhooks come, and put ten of the item on the shelf."""
        endpoint = {"url": f"{self.stack.url}/api/webhooks/stripe", "secrets": [SECRET]}
        await self.stripe.control("/webhooks/endpoints", "PUT", endpoints=[endpoint])
        await self.stack.put(10)

    async def ask_for_checkout(self, *, key: str | None = None, **fields: Any) -> httpx.Response:
        """Ask for a hold with a page to pay on; one unit unless `items` says otherwise."""
        headers = {"Idempotency-Key": key} if key is not None else {}
        body = {"shopId": SHOP, "items": [{**LINE, "sku": self.item}], **PAGES, **fields}
        return await self.stack.http.post("/api/checkout/sessions", json=body, headers=headers)

    async def checkout(self, **fields: Any) -> dict[str, Any]:
        """Make a hold with a page to pay on, and return the answer."""
        answer = await self.ask_for_checkout(**fields)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def pay(self, session_id: str, how: str = "card", **fields: Any) -> None:
        """Let the shopper pay on the page."""
        await self.stripe.control(f"/sessions/{session_id}/pay", how=how, **fields)

    async def intent_of(self, session_id: str) -> str:
        """Return the PaymentIntent of a session."""
        intent = (await self.stripe.books(session_id))["payment_intent"]
        assert isinstance(intent, str)
        return intent

    async def until_status(self, hold_id: str, status: str) -> dict[str, Any]:
        """Wait until the hold is so, and return it."""
        seen: dict[str, Any] = {}

        async def is_so() -> bool:
            seen.update(await self.stack.read(hold_id))
            return bool(seen["status"] == status)

        await until(is_so, f"{hold_id} {status}")
        return seen

    def case_of(self, payment_id: str) -> WorkflowHandle[LatePaymentWorkflow, LatePaymentEnded]:
        """Return the workflow that looks after a late payment."""
        return self.stack.temporal.get_workflow_handle_for(
            LatePaymentWorkflow.run, late_payment_workflow_id(payment_id)
        )

    async def stock(self) -> tuple[int, int]:
        """Return what can be sold of its item and what is held."""
        return await self.stack.stock_of(self.item)

    async def send(self, event: Mapping[str, Any] | bytes, signature: str | None = None) -> httpx.Response:
        """Bring an event as Stripe would, without a token; signed now with the right secret unless told otherwise."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        header = {"Stripe-Signature": signed(body) if signature is None else signature}
        return await self.stripe.browser.post(f"{self.stack.url}/api/webhooks/stripe", content=body, headers=header)

    async def until_heard(self, kind: str, about: str, answers: int = 1) -> None:
        """Wait until an event of the simulator's, about a session or PaymentIntent, was taken in so many times."""

        async def heard() -> bool:
            sent = await self.stripe.control("/webhooks", "GET")
            of_it = [d["answers"] for d in sent if d["type"] == kind and about in (d["about"], d["object"])]
            return bool(sum(each.count(200) for each in of_it) >= answers)

        await until(heard, f"{kind} about {about} heard")

    async def until_delivered(self) -> None:
        """Wait until every webhook that is to be sent has been answered with 2xx."""

        async def done() -> bool:
            sent = await self.stripe.control("/webhooks", "GET")
            return all(delivery["state"] not in ("waiting", "sending") for delivery in sent)

        await until(done, "all webhooks delivered")


def signed(body: bytes, *secrets: str, at: float | None = None, scheme: str = "v1") -> str:
    """Return the `Stripe-Signature` that Stripe makes of a body, with one signature for each secret."""
    time_of_it = int(time.time() if at is None else at)
    text = f"{time_of_it}.".encode() + body
    hashes = [hmac.new(each.encode(), text, hashlib.sha256).hexdigest() for each in secrets or (SECRET,)]
    return ",".join([f"t={time_of_it}", *(f"{scheme}={each}" for each in hashes)])


def event(kind: str, of: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a snapshot event about an object."""
    envelope = {"id": f"evt_{uuid.uuid4().hex}", "object": "event", "created": int(time.time()), "livemode": False}
    return {**envelope, "type": kind, "data": {"object": of}, **fields}


def named(hold_id: str, shop_id: str = SHOP) -> dict[str, str]:
    """Return the metadata by which a payment names its hold."""
    return {"inventory_reservation_id": hold_id, "shop_id": shop_id}


async def brief_checkout(shop: Shop, *, seconds: int, **fields: Any) -> tuple[str, str]:
    """Make a hold with a page that lives shorter than the API lets anybody ask for; returns its id and the page's."""
    hold_id = f"h-{uuid.uuid4().hex}"
    line = PaidLine(1, name="T-shirt", unit_amount=fields.pop("unit_amount", 1999), currency="eur")
    order = Order(SHOP, hold_id, [line], PAGES["successUrl"], PAGES["cancelUrl"], **fields)
    hold = HoldInput(
        shop_id=SHOP,
        hold_id=hold_id,
        lines=(Line(shop.item, "", 1),),
        ttl_seconds=seconds,
        max_ttl_seconds=3600,
        request_timeout_ms=30_000,
        checkout=Checkout(session_params(order)),
    )
    answer = await WorkflowClient(shop.stack.temporal, shop.stack.task_queue).open_checkout(hold)
    assert isinstance(answer.checkout, CheckoutOpened)
    return hold_id, answer.checkout.session_id


@asynccontextmanager
async def running_shop(
    database: str, temporal: Client, *, with_worker: bool = True, stripe: dict[str, Any] | None = None, **changes: str
) -> AsyncIterator[Shop]:
    """Run product and simulator; `changes` are environment variables, `stripe` the simulator's configuration."""
    async with simulated(**(stripe or {})) as sim:
        payments = {"STRIPE_API_KEY": API_KEY, "STRIPE_API_BASE": sim.url, "STRIPE_WEBHOOK_SECRET": SECRET}
        payments["HOLDFAST_CHECKOUT_SECRET"] = "c" * 40
        settings: dict[str, Any] = {**payments, **changes}
        async with running_stack(database, temporal, with_worker=with_worker, **settings) as stack:
            shop = Shop(stack, sim)
            await shop.open()
            yield shop
