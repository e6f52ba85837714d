"""The races of the table, with the worker killed between their two steps: the next one tells the story to its end.

One kill ends one worker in the midst of many holds, each between the steps of another race or of a change of its cart;
then the second step happens, and only then the next worker starts. A test for each looks at what came of it.
"""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from temporalio.service import RPCError

from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import until_waiting
from dev.postgres import EmbeddedPostgres
from tests.e2e.deployment import kill
from tests.paying import LINE, PAGES, event, named, signed
from tests.payments.scene import HANGS, SOLD, Scene, locked, running
from tests.stack import SHOP
from tests.waiting import until
from workflows.late_payment import LatePaymentWorkflow
from workflows.payment_messages import late_payment_workflow_id

ELSEWHERE = {"paidElsewhere": True}


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
    await change_carts(scene)


async def change_carts(scene: Scene) -> None:
    """Bring changes of the cart between the closing of the page, the change, and the opening of the new page."""
    await scene.checkout("closed-then-changed", "closed-and-changing", "changed-then-opened", "opened-unheard")
    await scene.checkout("closed-then-exchanged", reference="cart")
    for name in ("closed-then-changed", "closed-then-exchanged"):
        await scene.hang(name, "checkout.sessions.expire", "after")
    scene.change("closed-then-changed", 3)
    body = {"shopId": SHOP, "holdId": "exchanged", "reference": "cart", "replace": True, **PAGES}
    items = [{**LINE, "sku": "closed-then-exchanged", "quantity": 3}]
    scene.send("exchanged", "POST", "/api/checkout/sessions", {**body, "items": items})
    for name, when in (("changed-then-opened", "before"), ("opened-unheard", "after")):
        rule = {"on": "api", "effect": "timeout", "match": "checkout.sessions.create", "when": when, "seconds": HANGS}
        await scene.stripe.control("/faults", **rule)
        scene.change_and_pay(name, 3)
        await until(scene.all_fired, f"the page of {name} is being opened")


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
        async with locked(scene.product.database, *settling, "closed-and-changing"):
            scene.change("closed-and-changing", 3)
            scene.ask("answered-then-told", "release")
            await scene.pay("paid-then-ended")
            scene.ask("sold-then-expired", "commit", ELSEWHERE)
            await scene.expire("expired-then-sold")
            await until_waiting(scene.product.engine, len(settling) + 1)
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


# The cart changes


@pytest.mark.parametrize("name", ["closed-then-changed", "closed-and-changing"])
async def test_a_change_whose_page_was_closed_is_made_once(scene: Scene, name: str) -> None:
    told = await scene.again(name)
    assert (told["closedCheckoutSessionId"], told["checkoutSessionId"]) == (scene.pages[name], None)
    assert (told["revision"], await scene.stock(name), await scene.open_pages(name)) == (1, (7, 3), [])
    scene.change_and_pay(name, 3)
    scene.pages[name] = (await scene.again(name))["checkoutSessionId"]
    await scene.pay(name)
    await scene.sold_once(name, units=3)


@pytest.mark.parametrize("name", ["changed-then-opened", "opened-unheard"])
async def test_a_changed_cart_gets_one_page(scene: Scene, name: str) -> None:
    page = (await scene.again(name))["checkoutSessionId"]
    row = await scene.product.row(name)
    assert row is not None
    assert (row["revision"], await scene.stock(name), await scene.open_pages(name)) == (1, (7, 3), [page])
    scene.pages[name] = page
    await scene.pay(name)
    await scene.sold_once(name, units=3)


async def test_an_exchange_whose_page_was_closed_takes_over_the_units(scene: Scene) -> None:
    old = "closed-then-exchanged"
    scene.pages[old] = (await scene.again("exchanged"))["checkoutSessionId"]
    ended = await scene.until_status(old, "released")
    assert (ended["reason"], await scene.stock(old), await scene.open_pages(old)) == ("replaced", (7, 3), [])
    await scene.pay(old)
    await scene.until_status("exchanged", "committed")
    assert await scene.stock(old) == (7, 0)


async def test_no_run_has_failed_no_money_is_unaccounted_for_and_the_stock_adds_up(scene: Scene) -> None:
    assert await scene.product.failed_runs() == []
    for payment in await scene.stripe.control("/payments", "GET"):
        hold_id = payment["metadata"]["inventory_reservation_id"]
        row = await scene.product.row(hold_id)
        assert row is not None
        kept = row["paymentIntentId"] == payment["payment_intent"] or hold_id == "elsewhere-then-paid"  # an open case
        assert payment["net"] == (payment["amount"] if kept else 0)
    await assert_stock_adds_up(scene.product.engine)
