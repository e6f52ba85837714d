"""A shop under test: the product, whole, and the Stripe simulator, which calls its webhook."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from temporalio.client import Client, WorkflowHandle

from tests.simulated import API_KEY, SECRET, Simulated, simulated
from tests.stack import SHOP, Stack, running_stack
from workflows.late_payment import LatePaymentWorkflow
from workflows.messages import LatePaymentEnded, late_payment_workflow_id

LINE = {"sku": "TEE", "quantity": 1, "name": "T-shirt", "unitAmount": 1999, "currency": "eur"}
PAGES = {"successUrl": "https://shop.example/paid", "cancelUrl": "https://shop.example/cart"}


@dataclass
class Shop:
    """What a test of payments holds: the product and Stripe's stand-in."""

    stack: Stack
    stripe: Simulated

    async def ask_for_checkout(self, *, key: str | None = None, **fields: Any) -> httpx.Response:
        """Ask for a hold with a page to pay on; one TEE unless `items` says otherwise."""
        headers = {"Idempotency-Key": key} if key is not None else {}
        body = {"shopId": SHOP, "items": [LINE], **PAGES, **fields}
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

    async def until_status(self, hold_id: str, status: str, seconds: float = 15) -> dict[str, Any]:
        """Wait until the hold is so, and return it."""
        seen: dict[str, Any] = {}

        async def is_so() -> bool:
            seen.update(await self.stack.read(hold_id))
            return bool(seen["status"] == status)

        await until(is_so, f"{hold_id} {status}", seconds)
        return seen

    def case_of(self, payment_id: str) -> WorkflowHandle[LatePaymentWorkflow, LatePaymentEnded]:
        """Return the workflow that looks after a late payment."""
        return self.stack.temporal.get_workflow_handle_for(
            LatePaymentWorkflow.run, late_payment_workflow_id(payment_id)
        )

    async def until_delivered(self, seconds: float = 15) -> None:
        """Wait until every webhook that is to be sent has been answered with 2xx."""

        async def done() -> bool:
            sent = await self.stripe.control("/webhooks", "GET")
            return all(delivery["state"] not in ("pending", "waiting") for delivery in sent)

        await until(done, "all webhooks delivered", seconds)


async def until(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = 15) -> None:
    """Wait until the condition holds."""
    give_up = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < give_up, f"not in {seconds} s: {what}"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def running_shop(
    database: str, temporal: Client, *, with_worker: bool = True, stripe: dict[str, Any] | None = None, **changes: str
) -> AsyncIterator[Shop]:
    """Run product and simulator; `changes` are environment variables, `stripe` the simulator's configuration."""
    async with (
        simulated(**(stripe or {})) as sim,
        running_stack(
            database,
            temporal,
            with_worker=with_worker,
            **{
                "STRIPE_API_KEY": API_KEY,
                "STRIPE_API_BASE": sim.url,
                "STRIPE_WEBHOOK_SECRET": SECRET,
                **changes,
            },
        ) as stack,
    ):
        endpoint = {"url": f"{stack.url}/api/webhooks/stripe", "secrets": [SECRET]}
        await sim.control("/webhooks/endpoints", "PUT", endpoints=[endpoint])
        await stack.put(10)
        yield Shop(stack, sim)
