"""A worker killed while Stripe does what it asked: the next one finds it done, once.

One kill ends one worker in the midst of five holds, each at another call; a test for each looks at what came of it.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import stock_of
from dev.postgres import EmbeddedPostgres
from dev.temporal import EmbeddedTemporal
from tests.e2e.deployment import Deployment, deployed, kill
from tests.paying import LINE, PAGES
from tests.servers import database_on
from tests.simulated import API_KEY, SECRET, Simulated, simulated
from tests.stack import SHOP
from tests.waiting import until

POINTS = {
    "not-opened": ("checkout.sessions.create", "before"),
    "opened": ("checkout.sessions.create", "after"),
    "closed": ("checkout.sessions.expire", "after"),
    "captured": ("payment_intents.capture", "after"),
    "refunded": ("refunds.create", "after"),
}
"""Holds, each with an item of its own by the same name, and the call that the worker does not hear the answer of."""


@dataclass
class Aftermath:
    """What was asked of the worker that was killed."""

    deployment: Deployment
    sim: Simulated
    asked: dict[str, asyncio.Task[httpx.Response]]
    made: dict[str, dict[str, Any]]

    async def checkout(self, hold_id: str, **fields: Any) -> httpx.Response:
        line = {**LINE, "sku": hold_id}
        body = {"shopId": SHOP, "holdId": hold_id, "items": [line], **PAGES, **fields}
        return await self.deployment.http.post("/api/checkout/sessions", json=body)

    async def page_of(self, hold_id: str) -> dict[str, Any]:
        """Insist on the page of a hold."""
        while (answer := await self.checkout(hold_id)).status_code == 504:
            continue
        page: dict[str, Any] = answer.json()
        return page

    async def pages(self, hold_id: str) -> list[str]:
        opened = await self.sim.control("/sessions", "GET")
        return [each["status"] for each in opened if each["metadata"]["inventory_reservation_id"] == hold_id]

    async def all_fired(self) -> bool:
        return all(each["fired"] for each in await self.sim.control("/faults", "GET"))

    async def pay(self, hold_id: str, **fields: Any) -> None:
        await self.sim.control(f"/sessions/{self.made[hold_id]['checkoutSessionId']}/pay", **fields)


@pytest.fixture(scope="module")
async def deployment(
    postgres: EmbeddedPostgres, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Deployment, Simulated]]:
    """API and simulator, and a Temporal of the module's own, without a worker."""
    temporal = EmbeddedTemporal(None, ui=False)
    temporal.start()
    try:
        async with simulated() as sim:
            stripe = {"STRIPE_API_KEY": API_KEY, "STRIPE_API_BASE": sim.url, "STRIPE_WEBHOOK_SECRET": SECRET}
            folder = tmp_path_factory.mktemp("deployment")
            with database_on(postgres, migrated_template) as database:
                async with deployed(folder, database, temporal.address, **stripe) as running:
                    hook = {"url": f"{running.http.base_url}/api/webhooks/stripe", "secrets": [SECRET]}
                    await sim.control("/webhooks/endpoints", "PUT", endpoints=[hook])
                    yield running, sim
    finally:
        temporal.stop()


@pytest.fixture(scope="module")
async def aftermath(deployment: tuple[Deployment, Simulated]) -> AsyncIterator[Aftermath]:
    """Kill the worker when every hold is at its point, and start the next."""
    product, sim = deployment
    for hold_id in POINTS:
        await product.put(hold_id, 1)
    doomed = await product.start_worker()
    after = Aftermath(product, sim, {}, {})
    for hold_id, fields in {"closed": {}, "captured": {"captureMethod": "manual"}, "refunded": {}}.items():
        after.made[hold_id] = (await after.checkout(hold_id, **fields)).json()
    await product.answered("refunded", "release")
    await product.made("the-next-buyer", "refunded")
    for hold_id, (call, when) in POINTS.items():
        page = after.made.get(hold_id, {}).get("checkoutSessionId", hold_id)
        await sim.control("/faults", on="api", effect="timeout", match=call, when=when, about=page, seconds=90)
    for hold_id in ("not-opened", "opened"):
        after.asked[hold_id] = asyncio.create_task(after.checkout(hold_id))
    after.asked["closed"] = asyncio.create_task(product.post("closed", "release"))
    await after.pay("captured")
    await after.pay("refunded", late="complete")
    await until(after.all_fired, "every call is under way")
    kill(doomed)
    await sim.control("/faults", "DELETE")
    await product.start_worker()
    yield after
    await asyncio.gather(*after.asked.values(), return_exceptions=True)


@pytest.mark.parametrize("hold_id", ["not-opened", "opened"])
async def test_the_page_is_opened_once_and_found_by_whoever_asks_again(aftermath: Aftermath, hold_id: str) -> None:
    page = await aftermath.page_of(hold_id)
    assert page["url"]
    assert page["status"] == "active"
    assert await aftermath.pages(hold_id) == ["open"]
    assert await stock_of(aftermath.deployment.engine, hold_id) == (0, 1)


async def test_a_page_that_was_closed_gives_its_stock_back(aftermath: Aftermath) -> None:
    assert await aftermath.deployment.end_of("closed") == "released"
    assert await aftermath.pages("closed") == ["expired"]
    assert await stock_of(aftermath.deployment.engine, "closed") == (1, 0)


async def test_money_that_was_captured_is_captured_once(aftermath: Aftermath) -> None:
    assert await aftermath.deployment.end_of("captured") == "committed"
    books = await aftermath.sim.books(aftermath.made["captured"]["checkoutSessionId"])
    assert (books["captured"], books["net"]) == (1999, 1999)


async def test_money_that_was_given_back_is_given_back_once(aftermath: Aftermath) -> None:
    books = await aftermath.sim.books(aftermath.made["refunded"]["checkoutSessionId"])
    case = aftermath.deployment.temporal.get_workflow_handle(f"late-payment:{books['payment_intent']}")
    ended = await case.result()
    assert ended["outcome"] == "refunded"
    books = await aftermath.sim.books(aftermath.made["refunded"]["checkoutSessionId"])
    assert (len(books["refunds"]), books["net"]) == (1, 0)


async def test_nothing_has_failed_and_the_stock_adds_up(aftermath: Aftermath) -> None:
    assert await aftermath.deployment.failed_runs() == []
    await assert_stock_adds_up(aftermath.deployment.engine)
