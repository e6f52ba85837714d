"""A payment that was processing and failed: the hold goes back to its own deadline, and a cancel no longer waits."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from dev.harness.invariants import assert_stock_adds_up
from domain.payments import Payment
from tests.paying import Shop, named
from tests.payments.own_payments import (
    attached,
    own_intent,
    pay_intent,
    settle,
    until_it_expires_at,
    until_it_waits_longer,
)
from tests.waiting import until
from workflows.hold import HoldWorkflow
from workflows.messages import Cancel
from workflows.payment_messages import PaymentProcessing

SLOW = pytest.mark.parametrize(("how", "currency"), [("debit", "eur"), ("voucher", "mxn")])


async def processing(shop: Shop, how: str, currency: str) -> tuple[dict[str, Any], str]:
    """Make a hold whose attached PaymentIntent is processing; return the hold as it was made, and the PaymentIntent."""
    hold = await shop.stack.made((shop.item, 1), ttlSeconds=600)
    intent = await own_intent(shop, named(hold["holdId"]), currency=currency)
    await pay_intent(shop, intent, how)
    await attached(shop, hold["holdId"], intent)  # Stripe does not tell of a voucher that it waits
    await until_it_waits_longer(shop, hold["holdId"], hold["expiresAt"])
    return hold, intent


@SLOW
async def test_a_failed_payment_gives_the_hold_its_own_deadline_back(corner: Shop, how: str, currency: str) -> None:
    hold, intent = await processing(corner, how, currency)
    await settle(corner, intent, ok=False)
    await until_it_expires_at(corner, hold["holdId"], hold["expiresAt"])

    await pay_intent(corner, intent, "card")  # the shopper tries another way
    assert (await corner.until_status(hold["holdId"], "committed"))["paymentIntentId"] == intent


@SLOW
async def test_a_cancel_that_waited_for_a_payment_goes_ahead_once_it_failed(
    corner: Shop, how: str, currency: str
) -> None:
    hold, intent = await processing(corner, how, currency)
    await corner.stack.run_of(hold["holdId"]).signal(HoldWorkflow.cancel, Cancel("shopper", "gone home"))
    await settle(corner, intent, ok=False)
    assert (await corner.until_status(hold["holdId"], "released"))["reason"] == "gone home"
    assert (await corner.stripe.books(intent))["status"] == "canceled"
    assert await corner.stock() == (10, 0)


async def test_a_failed_payment_does_not_end_the_grace_of_another(corner: Shop) -> None:
    hold, intent = await processing(corner, "debit", "eur")
    first_grace = (await corner.stack.read(hold["holdId"]))["expiresAt"]
    other = Payment("pi_other")
    run = corner.stack.run_of(hold["holdId"])
    await run.signal(HoldWorkflow.payment_processing, PaymentProcessing(other, 30 * 86_400))
    await until_it_waits_longer(corner, hold["holdId"], first_grace)
    longest = (await corner.stack.read(hold["holdId"]))["expiresAt"]

    await settle(corner, intent, ok=False)
    await corner.until_heard("payment_intent.payment_failed", intent)

    await run.query(HoldWorkflow.snapshot)  # answered once the run has handled the failure
    assert (await corner.stack.read(hold["holdId"]))["expiresAt"] == longest
    await run.signal(HoldWorkflow.cancel, Cancel("stripe", "payment_intent_canceled", other))
    await until_it_expires_at(corner, hold["holdId"], hold["expiresAt"])


async def test_a_payment_that_fails_while_its_status_is_read_is_read_again(corner: Shop) -> None:
    hold = await corner.stack.made((corner.item, 1), ttlSeconds=600)
    intent = await own_intent(corner, named(hold["holdId"]))
    slow = {"on": "api", "effect": "delay", "match": "payment_intents.retrieve", "when": "after", "seconds": 600}
    rule = await corner.stripe.control("/faults", about=intent, **slow)
    await pay_intent(corner, intent, "debit")

    async def read() -> bool:
        return any(each["fired"] for each in await corner.stripe.control("/faults", "GET"))

    await until(read, "the status was read while the payment was processing")
    await settle(corner, intent, ok=False)
    await corner.until_heard("payment_intent.payment_failed", intent)
    await corner.stripe.control(f"/faults/{rule['id']}", "DELETE")

    async def read_again() -> bool:
        calls = await corner.stripe.control("/calls", "GET")
        reads = [c for c in calls if intent in c["path"] and c["operation"] == "payment_intents.retrieve"]
        return len(reads) > 1

    await until(read_again, "the status is read again")
    assert (await corner.stack.post(hold["holdId"], "release")).json()["status"] == "released"
    assert await corner.stock() == (10, 0)


async def test_a_resumed_run_learns_that_the_payment_has_failed(corner: Shop) -> None:
    hold, intent = await processing(corner, "debit", "eur")
    await corner.stripe.control("/faults", on="webhook", effect="drop", match="payment_intent.payment_failed")
    await corner.stack.run_of(hold["holdId"]).terminate()
    await settle(corner, intent, ok=False)
    await corner.stack.post(hold["holdId"], "extend", {"ttlSeconds": 60})  # whatever it answers, it resumes the run
    ceiling = datetime.fromisoformat(hold["createdAt"]) + timedelta(seconds=corner.stack.settings.max_ttl_seconds)

    async def is_so() -> bool:
        return bool(datetime.fromisoformat((await corner.stack.read(hold["holdId"]))["expiresAt"]) <= ceiling)

    await until(is_so, "the hold no longer waits for the payment")


async def test_after_all_of_this_the_stock_adds_up(sandbox: Shop) -> None:
    await assert_stock_adds_up(sandbox.stack.engine)
