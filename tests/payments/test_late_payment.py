"""A payment for a hold that it did not buy: the stock again, or the money back; never silent, never twice."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from core.database import fetch
from dev.harness.invariants import assert_stock_adds_up
from dev.temporal import temporal_binary
from domain.payments import Payment
from tests.commands import holdfast
from tests.paying import LINE, Shop, brief_checkout, event, named, running_shop
from tests.servers import own_time_skipping_temporal
from tests.stack import SHOP
from tests.waiting import until
from workflows import late_payment
from workflows.late_payment import LatePaymentWorkflow
from workflows.payment_messages import CloseCase, LatePayment, LatePaymentEnded, late_payment_workflow_id

CLOSE = """temporal workflow signal --workflow-id "late-payment:$PAYMENT" --name close --input '{"actor": "your name", "note": "what was done"}'"""  # noqa: E501 - the line of docs/runbooks/payments.md
MOVEMENT = 'SELECT kind, delta, actor, reason FROM "InventoryMovement" WHERE "holdId" = %(hold)s'

Skipping = tuple[Shop, WorkflowEnvironment]


async def ended(shop: Shop, verb: str = "release", **fields: Any) -> tuple[str, str]:
    """Make a hold with a page, end it before anybody paid, and return both ids."""
    made = await shop.checkout(**fields)
    answer = await shop.stack.post(made["holdId"], verb)
    assert answer.status_code == 200, answer.text
    return made["holdId"], made["checkoutSessionId"]


async def pay_late(shop: Shop, session_id: str, how: str = "card") -> str:
    """Let the payment land that was in flight when the page was closed; returns its PaymentIntent."""
    await shop.pay(session_id, how, late="complete")
    return await shop.intent_of(session_id)


async def sell_out(shop: Shop, *skus: str) -> None:
    """Let others hold all that there is."""
    for sku in skus or (shop.item,):
        left = (await shop.stack.stock_of(sku))[0]
        await shop.stack.made((sku, left))


async def outcome(shop: Shop, intent: str) -> str:
    """Wait until there is a case and it has ended, and return how."""

    async def begun() -> bool:
        return await status_of(shop, intent) is not None

    await until(begun, f"a case for {intent}")
    return (await shop.case_of(intent).result()).outcome


async def status_of(shop: Shop, intent: str) -> WorkflowExecutionStatus | None:
    cases = [each async for each in shop.stack.temporal.list_workflows(f"WorkflowId = 'late-payment:{intent}'")]
    return cases[0].status if cases else None


async def until_waits_for_person(shop: Shop, intent: str, cause: str) -> None:
    """Wait until nothing more happens before a person closes the case; it must say why."""

    async def waits() -> bool:
        if await status_of(shop, intent) is None:
            return False
        return bool(await shop.case_of(intent).query(LatePaymentWorkflow.waits_for_person))

    await until(waits, f"the case of {intent} waits for a person")
    assert cause in await shop.case_of(intent).query(LatePaymentWorkflow.state)


async def until_reported(shop: Shop) -> None:
    async def reported() -> bool:
        return counted(shop, "needs_person") == 1

    await until(reported, "a case is reported as needing a person")


async def by_hand(shop: Shop, intent: str) -> str:
    await shop.case_of(intent).signal(LatePaymentWorkflow.close, CloseCase("mara", "settled by phone"))
    return await outcome(shop, intent)


async def by_the_command_of_the_page(shop: Shop, intent: str) -> None:
    variables = {
        **os.environ,
        "PATH": f"{temporal_binary().parent}{os.pathsep}{os.environ['PATH']}",
        "TEMPORAL_ADDRESS": shop.stack.temporal.service_client.config.target_host,
        "PAYMENT": intent,
    }
    process = await asyncio.create_subprocess_exec("sh", "-c", CLOSE, env=variables)
    assert await process.wait() == 0


def counted(shop: Shop, how: str | None = None) -> float:
    return shop.stack.counted("inventory_late_payment", **({} if how is None else {"outcome": how}))


async def refunds(shop: Shop, payment: str) -> tuple[int, int]:
    """Return how many refunds there are, and what the shop has of the money."""
    books = await shop.stripe.books(payment)
    return len(books["refunds"]), books["net"]


@pytest.mark.parametrize("verb", ["release", "expire"])
async def test_stock_that_is_still_there_is_sold_to_the_late_payment(shop: Shop, verb: str) -> None:
    if verb == "release":
        hold_id, page = await ended(shop)
    else:
        hold_id, page = await brief_checkout(shop, seconds=1)
        await shop.until_status(hold_id, "expired")

    intent = await pay_late(shop, page)

    assert await outcome(shop, intent) == "reacquired"
    hold = await shop.stack.read(hold_id)
    assert (hold["status"], hold["reason"], hold["paymentIntentId"]) == ("committed", "late_payment", intent)
    assert await shop.stack.stock_of() == (9, 0)
    with_reason = {"kind": "commit", "delta": -1, "actor": "stripe", "reason": "late_payment"}
    assert await movements(shop, hold_id) == [with_reason]
    assert (counted(shop, "reacquired"), counted(shop)) == (1, 1)
    assert await refunds(shop, intent) == (0, 1999)
    await assert_stock_adds_up(shop.stack.engine)


async def movements(shop: Shop, hold_id: str) -> list[dict[str, Any]]:
    return [dict(row) for row in await fetch(shop.stack.engine, MOVEMENT, {"hold": hold_id})]


async def test_money_for_stock_that_is_gone_goes_back(shop: Shop) -> None:
    hold_id, page = await ended(shop)
    await sell_out(shop)

    with capture_logs() as lines:
        intent = await pay_late(shop, page)
        assert await outcome(shop, intent) == "refunded"

    [line] = [line for line in lines if line.get("outcome") == "refunded"]
    assert (line["log_level"], line["hold_id"], line["payment_id"]) == ("warning", hold_id, intent)
    assert (await shop.stack.read(hold_id))["status"] == "released"
    assert await shop.stack.stock_of() == (0, 10)
    assert await refunds(shop, intent) == (1, 0)
    assert (counted(shop, "refunded"), counted(shop)) == (1, 1)
    await assert_stock_adds_up(shop.stack.engine)


async def test_with_one_of_two_items_gone_nothing_is_taken(corner: Shop) -> None:
    other = await corner.corner()
    lines = [{**LINE, "sku": sku} for sku in (corner.item, other.item)]
    hold_id, page = await ended(corner, items=lines)
    await sell_out(corner, other.item)

    intent = await pay_late(corner, page)

    assert await outcome(corner, intent) == "refunded"
    assert (await corner.stock(), await other.stock()) == ((10, 0), (0, 10))
    assert (await corner.stack.read(hold_id))["status"] == "released"
    assert await movements(corner, hold_id) == []


async def test_the_policy_refund_gives_the_money_back_though_there_is_stock(database: str, temporal: Client) -> None:
    async with running_shop(database, temporal, LATE_PAYMENT_POLICY="refund") as shop:
        hold_id, page = await ended(shop)
        intent = await pay_late(shop, page)
        assert await outcome(shop, intent) == "refunded"
        assert await refunds(shop, intent) == (1, 0)
        assert (await shop.stack.read(hold_id))["status"] == "released"
        assert await shop.stack.stock_of() == (10, 0)


async def test_the_policy_keep_leaves_a_case_to_a_person(database: str, temporal: Client) -> None:
    async with running_shop(database, temporal, LATE_PAYMENT_POLICY="keep") as shop:
        hold_id, page = await ended(shop)
        intent = await pay_late(shop, page)
        await until_waits_for_person(shop, intent, late_payment.KEEP_MONEY)
        await until_shown(shop, hold_id, intent)
        assert await status_of(shop, intent) is WorkflowExecutionStatus.RUNNING
        assert counted(shop, "needs_person") == 1
        assert await refunds(shop, intent) == (0, 1999)

        assert await by_hand(shop, intent) == "closed_by_person"

        assert (await shop.case_of(intent).result()).detail == "mara: settled by phone"
        assert (counted(shop, "closed_by_person"), counted(shop)) == (1, 2)


async def until_shown(shop: Shop, hold_id: str, *intents: str) -> None:
    """Wait until `holds show` leads to these cases: Temporal's list lags."""

    async def shown() -> bool:
        ran = await holdfast(shop.stack, "holds", "show", hold_id, "--shop", SHOP, "--json")
        cases = {case["paymentId"]: case for case in json.loads(ran.out)["latePayments"]}
        assert all(case["url"].endswith(f"late-payment:{intent}") for intent, case in cases.items())
        waits = all("Waiting for a person" in case["state"] for case in cases.values())
        return waits and set(cases) == set(intents)

    await until(shown, f"holds show leads to {intents}")


async def test_holds_show_leads_to_a_late_payment_that_only_names_the_hold(database: str, temporal: Client) -> None:
    async with running_shop(database, temporal, LATE_PAYMENT_POLICY="keep") as shop:
        hold = await shop.stack.made()
        await shop.stack.post(hold["holdId"], "release")
        other = await shop.stack.made()
        await shop.stack.post(other["holdId"], "release")
        intent = await own_intent(shop, hold["holdId"])
        await shop.stripe.control(f"/payment_intents/{intent}/pay")
        await until_shown(shop, hold["holdId"], intent)
        await until_shown(shop, other["holdId"])


async def test_a_second_payment_of_a_sold_hold_goes_back(corner: Shop) -> None:
    made = await corner.checkout()
    await corner.pay(made["checkoutSessionId"])
    await corner.until_status(made["holdId"], "committed")
    second = await own_intent(corner, made["holdId"])
    await corner.stripe.control(f"/payment_intents/{second}/pay")

    assert await outcome(corner, second) == "refunded"

    assert await refunds(corner, second) == (1, 0)
    assert await refunds(corner, made["checkoutSessionId"]) == (0, 1999)
    assert await corner.stock() == (9, 0)


async def own_intent(shop: Shop, hold_id: str, **fields: Any) -> str:
    """Make a PaymentIntent of the shop's own that names the hold."""
    wanted: Any = {"amount": 500, "currency": "eur", "metadata": named(hold_id), **fields}
    return (await shop.stripe.stripe.v1.payment_intents.create_async(wanted)).id


async def test_the_payment_of_a_hold_that_the_shop_sold_is_recorded(corner: Shop) -> None:
    hold = await corner.stack.made((corner.item, 1))
    hold_id, intent = hold["holdId"], await own_intent(corner, hold["holdId"], amount=1999)
    await corner.stack.post(hold_id, "commit")
    await corner.stripe.control(f"/payment_intents/{intent}/pay")
    assert await outcome(corner, intent) == "recorded"
    hold = await corner.stack.read(hold_id)
    assert (hold["status"], hold["reason"], hold["paymentIntentId"]) == ("committed", "committed", intent)
    assert await refunds(corner, intent) == (0, 1999)
    assert await corner.stock() == (9, 0)


async def test_a_payment_for_a_hold_that_was_sold_in_part_waits_for_a_person(corner: Shop) -> None:
    made = await corner.stack.made((corner.item, 3))
    part = {"items": [{"sku": corner.item, "quantity": 1}]}
    intent = await own_intent(corner, made["holdId"], capture_method="manual")
    assert (await corner.stack.post(made["holdId"], "commit", part)).status_code == 200
    await corner.stripe.control(f"/payment_intents/{intent}/pay")
    await until_waits_for_person(corner, intent, "sold only some of the hold's units")
    books = await corner.stripe.books(intent)
    assert (books["refunds"], books["net"]) == ([], 0)  # neither captured nor cancelled
    assert await corner.stock() == (9, 0)
    assert await by_hand(corner, intent) == "closed_by_person"


async def test_a_late_authorisation_is_captured_where_the_stock_is_there(corner: Shop) -> None:
    hold_id, page = await ended(corner, captureMethod="manual")
    intent = await pay_late(corner, page)
    assert await outcome(corner, intent) == "reacquired"
    assert (await corner.stack.read(hold_id))["status"] == "committed"
    books = await corner.stripe.books(intent)
    assert (books["captured"], books["net"]) == (1999, 1999)


async def test_a_late_authorisation_is_cancelled_where_the_stock_is_gone(corner: Shop) -> None:
    _, page = await ended(corner, captureMethod="manual")
    await sell_out(corner)
    intent = await pay_late(corner, page)
    assert await outcome(corner, intent) == "refunded"
    books = await corner.stripe.books(intent)
    assert (books["status"], books["captured"], books["refunds"]) == ("canceled", 0, [])


async def test_an_authorisation_that_cannot_be_captured_is_told(shop: Shop) -> None:
    hold_id, page = await ended(shop, captureMethod="manual")
    await shop.stripe.control("/faults", on="api", effect="error", match="payment_intents.capture", status=400)
    intent = await pay_late(shop, page)
    assert await outcome(shop, intent) == "reacquired"
    assert (await shop.stack.read(hold_id))["status"] == "committed"
    assert (counted(shop, "needs_person"), counted(shop, "reacquired")) == (1, 1)


@pytest.mark.parametrize("gone", [True, False])
async def test_a_late_payment_told_many_times_is_one(shop: Shop, gone: bool) -> None:
    _, page = await ended(shop)
    if gone:
        await sell_out(shop)
    await shop.stripe.control("/faults", on="webhook", effect="duplicate", copies=4, match="*", times=None)

    intent = await pay_late(shop, page)

    assert await outcome(shop, intent) == ("refunded" if gone else "reacquired")
    await shop.until_delivered()
    await again(shop, intent)
    assert await outcome(shop, intent) in ("already", "refunded" if gone else "reacquired")
    assert counted(shop) == 1
    assert await refunds(shop, intent) == ((1, 0) if gone else (0, 1999))
    await assert_stock_adds_up(shop.stack.engine)


async def again(shop: Shop, intent: str) -> None:
    """Let the same event come once more, when its case has been closed."""
    sent = await shop.stripe.control("/webhooks", "GET")
    told = next(each for each in sent if each["type"] == "payment_intent.succeeded" and each["object"] == intent)
    heard = len(sent)
    await shop.stripe.control("/webhooks/resend", event=told["event"])

    async def came() -> bool:
        return len(await shop.stripe.control("/webhooks", "GET")) > heard

    await until(came, "the event was sent again")
    await shop.until_delivered()


async def test_events_and_the_hold_itself_join_in_one_case(corner: Shop) -> None:
    """Both the run of a hold that was just sold and the webhook start a case for the second payment."""
    made = await corner.checkout()
    second = await own_intent(corner, made["holdId"])
    await asyncio.gather(corner.pay(made["checkoutSessionId"]), corner.stripe.control(f"/payment_intents/{second}/pay"))
    hold = await corner.until_status(made["holdId"], "committed")
    first = await corner.intent_of(made["checkoutSessionId"])
    loser = second if hold["paymentIntentId"] == first else first
    assert await outcome(corner, loser) == "refunded"
    await corner.until_delivered()
    assert await refunds(corner, loser) == (1, 0)


async def test_a_payment_that_a_person_gave_back_first_takes_no_stock(corner: Shop) -> None:
    hold_id, page = await ended(corner)
    await corner.stripe.control("/faults", on="webhook", effect="hold", match="*", times=None)
    intent = await pay_late(corner, page)
    await corner.stripe.stripe.v1.refunds.create_async({"payment_intent": intent})
    await corner.stripe.control("/faults", "DELETE")
    await corner.stripe.control("/webhooks/release")
    assert await outcome(corner, intent) == "already"
    assert (await corner.stack.read(hold_id))["status"] == "released"
    assert await corner.stock() == (10, 0)


async def test_a_payment_that_stripe_does_not_know_waits_for_a_person(corner: Shop) -> None:
    hold_id, _ = await ended(corner)
    intent = f"pi_{hold_id.replace('_', '')}"
    told = {"id": intent, "object": "payment_intent", "metadata": named(hold_id)}
    assert (await corner.send(event("payment_intent.succeeded", told))).status_code == 200
    await until_waits_for_person(corner, intent, late_payment.UNKNOWN_PAYMENT)
    assert (await corner.stack.read(hold_id))["status"] == "released"
    await by_the_command_of_the_page(corner, intent)
    assert await corner.case_of(intent).result() == LatePaymentEnded("closed_by_person", "your name: what was done")


async def test_a_case_cancelled_in_temporal_is_left_to_a_person(shop: Shop) -> None:
    _, page = await ended(shop)
    await sell_out(shop)
    await shop.stripe.control("/faults", on="api", effect="error", match="refunds.create", status=500, times=None)
    intent = await pay_late(shop, page)

    async def begun() -> bool:
        return await status_of(shop, intent) is not None

    await until(begun, f"a case for {intent}")
    await shop.case_of(intent).cancel()

    await until_waits_for_person(shop, intent, late_payment.CANCELLED)
    assert counted(shop, "needs_person") == 1
    assert await refunds(shop, intent) == (0, 1999)
    assert await by_hand(shop, intent) == "closed_by_person"


async def test_a_payment_for_a_hold_whose_row_is_gone_waits_for_a_person(corner: Shop) -> None:
    page = (await corner.checkout())["checkoutSessionId"]
    await corner.stripe.control("/faults", on="webhook", effect="drop", match="*", about=page, times=None)
    await corner.pay(page)
    intent = await corner.intent_of(page)
    late = LatePayment(SHOP, "h-gone", Payment(intent, page))
    await corner.stack.temporal.start_workflow(
        LatePaymentWorkflow.run, late, id=late_payment_workflow_id(intent), task_queue=corner.stack.task_queue
    )
    await until_waits_for_person(corner, intent, late_payment.NO_SUCH_HOLD)
    assert await by_hand(corner, intent) == "closed_by_person"


async def test_a_page_that_costs_nothing_takes_the_stock_again(corner: Shop) -> None:
    free = {**LINE, "sku": corner.item, "unitAmount": 0}
    hold_id, page = await ended(corner, items=[free])
    await corner.pay(page, late="complete")
    assert await outcome(corner, page) == "reacquired"
    hold = await corner.stack.read(hold_id)
    assert (hold["status"], hold["paymentIntentId"], hold["checkoutSessionId"]) == ("committed", None, page)
    assert await corner.stock() == (9, 0)


async def test_a_page_that_costs_nothing_and_is_too_late_is_told_to_a_person(corner: Shop) -> None:
    _, page = await ended(corner, items=[{**LINE, "sku": corner.item, "unitAmount": 0}])
    await sell_out(corner)
    await corner.pay(page, late="complete")
    await until_waits_for_person(corner, page, late_payment.NOTHING_TO_REFUND)
    assert await by_hand(corner, page) == "closed_by_person"


async def test_money_that_came_later_still_buys_what_is_there(corner: Shop) -> None:
    """A debit on a page that had expired: it is under way when the hold is gone, and buys once the money is there."""
    hold_id, page = await ended(corner)
    intent = await pay_late(corner, page, "debit")
    await corner.until_delivered()
    assert await status_of(corner, intent) is None
    await corner.stripe.control(f"/payment_intents/{intent}/settle")
    assert await outcome(corner, intent) == "reacquired"
    assert (await corner.stack.read(hold_id))["status"] == "committed"


async def test_a_refund_that_failed_later_is_told_to_a_person(shop: Shop) -> None:
    _, page = await ended(shop)
    await sell_out(shop)
    intent = await pay_late(shop, page)
    assert await outcome(shop, intent) == "refunded"
    (refund,) = (await shop.stripe.books(intent))["refunds"]

    await shop.stripe.control(f"/refunds/{refund['id']}/settle", ok=False)

    await until_waits_for_person(shop, intent, late_payment.REFUND_FAILED)
    assert counted(shop, "needs_person") == 1
    assert await by_hand(shop, intent) == "closed_by_person"


async def test_a_hold_that_is_active_gets_its_payment_from_the_case(corner: Shop) -> None:
    made = await corner.checkout()
    await corner.stripe.control("/faults", on="webhook", effect="drop", match="*", times=None)
    await corner.pay(made["checkoutSessionId"])
    intent = await corner.intent_of(made["checkoutSessionId"])
    late = LatePayment(SHOP, made["holdId"], Payment(intent, made["checkoutSessionId"]))
    await corner.stack.temporal.start_workflow(
        LatePaymentWorkflow.run, late, id=late_payment_workflow_id(intent), task_queue=corner.stack.task_queue
    )
    assert await outcome(corner, intent) == "handed_over"
    assert (await corner.until_status(made["holdId"], "committed"))["paymentIntentId"] == intent


@pytest.fixture
async def skipping(database: str, time_skipping: WorkflowEnvironment) -> AsyncIterator[Skipping]:
    """The shop on a Temporal server that skips time."""
    async with running_shop(database, time_skipping.client) as shop:
        yield shop, time_skipping


@pytest.fixture
async def short_lived_runs(database: str) -> AsyncIterator[Skipping]:
    """The same on a server of its own, on which a run continues as a new one after 40 events."""
    short = "--dynamic-config-value=limit.historyCount.suggestContinueAsNew=40"
    async with own_time_skipping_temporal(short) as temporal, running_shop(database, temporal.client) as shop:
        yield shop, temporal


async def test_a_refund_that_stripe_refuses_stays_visible_and_is_tried_again(
    skipping: Skipping,
) -> None:
    shop, environment = skipping
    _, page = await ended(shop)
    await sell_out(shop)
    refusal = {"status": 400, "code": "insufficient_funds", "times": 2}
    await shop.stripe.control("/faults", on="api", effect="error", match="refunds.create", **refusal)

    intent = await pay_late(shop, page)

    await until_reported(shop)
    for tries in (1, 2):
        assert await refunds(shop, intent) == (0, 1999)
        await until_refused(shop, intent, tries)
        await environment.fast_forward(shop.case_of(intent), 6 * 3600 + 1)
    assert await outcome(shop, intent) == "refunded"
    assert await refunds(shop, intent) == (1, 0)
    assert (counted(shop, "needs_person"), counted(shop, "refunded")) == (1, 1)


async def until_refused(shop: Shop, intent: str, times: int) -> None:
    """Wait until the refund was refused that often and the case says so, and how a person ends it."""

    async def is_so() -> bool:
        calls = await shop.stripe.control("/calls", "GET")
        state = await shop.case_of(intent).query(LatePaymentWorkflow.state)
        says = late_payment.REFUND_REFUSED in state and "`close`" in state
        return says and bool(
            sum(each["operation"] == "refunds.create" and not each["replayed"] for each in calls) == times
        )

    await until(is_so, f"refused {times} times")


async def test_a_refund_that_stripe_refuses_can_be_finished_by_hand(shop: Shop) -> None:
    _, page = await ended(shop)
    await sell_out(shop)
    await shop.stripe.control("/faults", on="api", effect="error", match="refunds.create", status=400, times=None)
    intent = await pay_late(shop, page)
    await until_reported(shop)
    assert late_payment.REFUND_REFUSED in await shop.case_of(intent).query(LatePaymentWorkflow.state)
    assert await by_hand(shop, intent) == "closed_by_person"
    assert await refunds(shop, intent) == (0, 1999)


async def test_after_all_of_this_the_stock_adds_up(sandbox: Shop) -> None:
    await assert_stock_adds_up(sandbox.stack.engine)


async def test_a_case_that_waits_for_its_hold_for_days_begins_new_runs_and_ends(short_lived_runs: Skipping) -> None:
    shop, environment = short_lived_runs
    made = await shop.checkout()
    await shop.stripe.control("/faults", on="webhook", effect="drop", match="*", times=None)
    await shop.pay(made["checkoutSessionId"])
    intent = await shop.intent_of(made["checkoutSessionId"])
    await shop.stack.run_of(made["holdId"]).terminate()
    late = LatePayment(SHOP, made["holdId"], Payment(intent, made["checkoutSessionId"]))
    first = await shop.stack.temporal.start_workflow(
        LatePaymentWorkflow.run, late, id=late_payment_workflow_id(intent), task_queue=shop.stack.task_queue
    )

    async def pass_a_minute() -> None:
        with suppress(RPCError):  # this run has just ended
            await environment.fast_forward(shop.case_of(intent), 61)

    async def is_new_run() -> bool:
        await pass_a_minute()
        return bool((await shop.case_of(intent).describe()).run_id != first.result_run_id)

    await until(is_new_run, "the case goes on in a new run")
    assert (await shop.stack.post(made["holdId"], "commit")).status_code == 200
    await pass_a_minute()
    assert await outcome(shop, intent) in ("recorded", "already", "handed_over")
    await shop.until_status(made["holdId"], "committed")
    assert await refunds(shop, intent) == (0, 1999)
    await assert_stock_adds_up(shop.stack.engine)
