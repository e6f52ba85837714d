"""The races of the table, with the worker killed between their two steps: the next one tells the story to its end.

One kill ends one worker in the midst of fourteen holds, each between the steps of another race; then the second step
happens, and only then the next worker starts. A test for each looks at what came of it.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg
import pytest
from temporalio.service import RPCError

from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import stock_of, until_waiting
from dev.postgres import EmbeddedPostgres
from dev.temporal import EmbeddedTemporal
from tests.e2e.deployment import Deployment, deployed, kill
from tests.paying import LINE, PAGES, event, named, signed
from tests.servers import database_on
from tests.simulated import API_KEY, SECRET, Simulated, simulated
from tests.stack import SHOP
from tests.waiting import until
from workflows.late_payment import LatePaymentWorkflow
from workflows.payment_messages import late_payment_workflow_id

HANGS = 300
"""Seconds for which a call is not answered: until its worker is killed."""
ELSEWHERE = {"paidElsewhere": True}
SOLD, GIVEN_BACK = (9, 0), (10, 0)


@dataclass
class Scene:
    """The product as processes, and holds by the name of their race; each has an item of its own by the same name."""

    product: Deployment
    stripe: Simulated
    pages: dict[str, str] = field(default_factory=dict)
    asked: dict[str, "asyncio.Task[httpx.Response]"] = field(default_factory=dict)

    async def checkout(self, *names: str) -> None:
        """Make holds with a page to pay on, ten of the item in the house."""
        for name in names:
            await self.product.put(name, 10)
            body = {"shopId": SHOP, "holdId": name, "items": [{**LINE, "sku": name}], **PAGES}
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

    async def sold_once(self, name: str, reason: str = "payment") -> None:
        """Check that the hold was sold once, for money that was taken once."""
        row = await self.until_status(name, "committed")
        assert (row["reason"], row["moves"]) == (reason, 1)
        assert row["paymentIntentId"] == (await self.books(name))["payment_intent"]
        assert (await self.books(name))["net"] == LINE["unitAmount"]
        assert await self.stock(name) == SOLD

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


async def first_steps(scene: Scene) -> None:
    """Bring each race to the point between its steps, or as near as a worker comes to it."""
    ask, hang = scene.ask, scene.hang
    await scene.checkout("paid-then-closed", "closed-then-paid", "told-then-answered", "answered-then-told")
    await scene.checkout("ended-then-paid", "paid-then-ended", "sold-then-expired", "expired-then-sold")
    await scene.checkout("lost-then-found", "found-then-told", "second-while-first", "second-after-first")
    await scene.checkout("elsewhere-then-closed", "elsewhere-then-paid")

    for name in ("elsewhere-then-closed", "elsewhere-then-paid"):
        await hang(name, "checkout.sessions.expire")
        ask(name, "commit", ELSEWHERE)
    await scene.tell_nobody("elsewhere-then-paid")

    await hang("paid-then-closed", "checkout.sessions.expire")
    await scene.tell_nobody("paid-then-closed")
    await hang("closed-then-paid", "checkout.sessions.expire", "after")
    await scene.tell_nobody("closed-then-paid")
    await hang("told-then-answered", "checkout.sessions.expire", "after")
    await scene.fault("answered-then-told", "webhook", "hold", "checkout.session.expired")
    await hang("lost-then-found", "checkout.sessions.retrieve")
    await scene.tell_nobody("lost-then-found")
    await scene.pay("lost-then-found")
    await hang("found-then-told", "checkout.sessions.retrieve")
    await scene.fault("found-then-told", "webhook", "hold", "*", times=None)
    await scene.pay("found-then-told")
    closing = ("paid-then-closed", "closed-then-paid", "told-then-answered", "lost-then-found", "found-then-told")
    for name in closing:
        ask(name, "release")
    await scene.heard("told-then-answered", "checkout.session.expired")

    ended = await scene.product.post("ended-then-paid", "release")
    assert ended.json()["status"] == "released"

    for name in ("second-while-first", "second-after-first"):
        scene.pages[f"{name} 2"] = await scene.second_page(name)
    await scene.tell_nobody("second-after-first")
    await scene.expire("second-after-first")
    for name in ("second-while-first", "second-after-first"):
        await hang(name, "checkout.sessions.retrieve")
        scene.asked[f"{name} attach"] = asyncio.create_task(scene.attach_second(name))


async def second_steps(scene: Scene) -> None:
    """While no worker runs, bring about what each race still lacks."""
    await scene.pay("paid-then-closed")
    await scene.pay("closed-then-paid", late="complete")
    await scene.pay("elsewhere-then-paid")
    await scene.pay("ended-then-paid", late="complete")
    await scene.heard("ended-then-paid", "checkout.session.completed")
    scene.ask("paid-then-ended", "release")
    of = {"id": scene.pages["sold-then-expired"], "metadata": named("sold-then-expired")}
    body = json.dumps(event("checkout.session.expired", of)).encode()
    told = await scene.product.http.post(
        "/api/webhooks/stripe", content=body, headers={"Stripe-Signature": signed(body)}
    )
    assert told.json()["result"] == "told"
    scene.ask("expired-then-sold", "commit", ELSEWHERE)
    await scene.stripe.control("/webhooks/release")
    await scene.heard("answered-then-told", "checkout.session.expired")
    await scene.heard("found-then-told", "checkout.session.completed")


@pytest.fixture(scope="module")
async def scene(
    postgres: EmbeddedPostgres, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    """Kill the worker when every race is between its steps; then its second step, and the next worker."""
    async with running(postgres, migrated_template, tmp_path_factory.mktemp("product")) as scene:
        doomed = await scene.product.start_worker()
        await first_steps(scene)
        settling = ("answered-then-told", "paid-then-ended", "sold-then-expired", "expired-then-sold")
        async with locked(scene.product.database, *settling):
            scene.ask("answered-then-told", "release")
            await scene.pay("paid-then-ended")
            scene.ask("sold-then-expired", "commit", ELSEWHERE)
            await scene.expire("expired-then-sold")
            await until_waiting(scene.product.engine, len(settling))
            await until(scene.all_fired, "every call is under way")
            kill(doomed)
        await second_steps(scene)
        await scene.stripe.control("/faults", "DELETE")
        await scene.product.start_worker()
        yield scene
        await asyncio.gather(*scene.asked.values(), return_exceptions=True)


# Paid while we expire


async def test_paid_before_the_page_was_closed(scene: Scene) -> None:
    await scene.sold_once("paid-then-closed")


async def test_paid_after_the_page_was_closed(scene: Scene) -> None:
    await scene.sold_once("closed-then-paid")


# The `expired` webhook before our own answer


async def test_told_of_the_closed_page_before_our_own_answer(scene: Scene) -> None:
    await scene.given_back_once("told-then-answered")


async def test_told_of_the_closed_page_after_our_own_answer(scene: Scene) -> None:
    await scene.given_back_once("answered-then-told")


# `completed` after the hold ended


async def test_paid_after_the_end(scene: Scene) -> None:
    await scene.sold_once("ended-then-paid", reason="late_payment")


async def test_ended_after_the_payment(scene: Scene) -> None:
    await scene.sold_once("paid-then-ended")
    answer = await scene.product.post("paid-then-ended", "release")
    assert (answer.status_code, answer.json()["error"]) == (409, "hold_not_active")


# `expired` or `failed` after commit


async def test_the_page_expired_after_the_sale(scene: Scene) -> None:
    row = await scene.until_status("sold-then-expired", "committed")
    assert row["moves"] == 1
    assert await scene.stock("sold-then-expired") == SOLD


async def test_a_sale_after_the_page_expired(scene: Scene) -> None:
    await scene.given_back_once("expired-then-sold")
    answer = await scene.product.post("expired-then-sold", "commit")
    assert (answer.status_code, answer.json()["error"]) == (409, "hold_not_active")


# A webhook that is lost


async def test_a_payment_of_which_nobody_told_is_found(scene: Scene) -> None:
    await scene.sold_once("lost-then-found")


async def test_a_payment_of_which_was_told_in_the_end(scene: Scene) -> None:
    await scene.sold_once("found-then-told")


# Sold as paid elsewhere


async def sold_elsewhere(scene: Scene, name: str) -> None:
    row = await scene.until_status(name, "committed")
    assert (row["moves"], row["paymentIntentId"]) == (1, None)
    assert await scene.stock(name) == SOLD


async def test_the_page_of_what_was_paid_elsewhere_is_closed_by_the_next_worker(scene: Scene) -> None:
    await sold_elsewhere(scene, "elsewhere-then-closed")
    page = scene.pages["elsewhere-then-closed"]

    async def closed() -> bool:
        session = await scene.stripe.stripe.v1.checkout.sessions.retrieve_async(page)
        return (session.status, session.payment_status) == ("expired", "unpaid")

    await until(closed, "the page is closed")


async def test_paid_on_the_page_of_what_was_paid_elsewhere(scene: Scene) -> None:
    await sold_elsewhere(scene, "elsewhere-then-paid")
    intent = (await scene.books("elsewhere-then-paid"))["payment_intent"]
    case = scene.product.temporal.get_workflow_handle_for(LatePaymentWorkflow.run, late_payment_workflow_id(intent))

    async def asks() -> bool:
        try:
            return await case.query(LatePaymentWorkflow.waits_for_person)
        except RPCError:  # it has not begun
            return False

    await until(asks, "a person is asked")


# Two sessions for one hold


async def test_a_second_page_is_refused_while_the_first_can_be_paid(scene: Scene) -> None:
    answer = await scene.attach_second("second-while-first")
    assert (answer.status_code, answer.json()["error"]) == (409, "payment_already_attached")
    await scene.pay("second-while-first")
    await scene.sold_once("second-while-first")


async def test_a_second_page_is_taken_once_the_first_cannot_be_paid(scene: Scene) -> None:
    answer = await scene.attach_second("second-after-first")
    assert (answer.status_code, answer.json()["checkoutSessionId"]) == (200, scene.pages["second-after-first 2"])
    scene.pages["second-after-first"] = scene.pages["second-after-first 2"]
    await scene.pay("second-after-first")
    await scene.sold_once("second-after-first")


async def test_no_run_has_failed_no_money_is_unaccounted_for_and_the_stock_adds_up(scene: Scene) -> None:
    assert await scene.product.failed_runs() == []
    for payment in await scene.stripe.control("/payments", "GET"):
        hold_id = payment["metadata"]["inventory_reservation_id"]
        row = await scene.product.row(hold_id)
        assert row is not None
        kept = row["paymentIntentId"] == payment["payment_intent"] or hold_id == "elsewhere-then-paid"  # an open case
        assert payment["net"] == (LINE["unitAmount"] if kept else 0)
    await assert_stock_adds_up(scene.product.engine)
