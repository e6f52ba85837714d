"""Every ending of a hold, and what leads to none."""

from datetime import UTC, datetime

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowUpdateFailedError

from dev.harness.invariants import assert_stock_adds_up
from domain.holds import HoldStatus, ReserveOutcome, Shortage, ShortItem, TooLate
from domain.payments import Payment
from inventory.settle import settle
from tests.api.asking import locked
from tests.stack import SHOP, Stack
from tests.waiting import until
from tests.workflow.conftest import SkippingStack
from tests.workflow.sending import held, send, start_and_ask, start_hold
from workflows.hold import HoldWorkflow
from workflows.messages import HOLD_STATUS, Cancel, Commit, Ended, Extend
from workflows.payment_messages import PaymentFailed, PaymentProcessing

CARD = Payment(payment_intent_id="pi_card", session_id="cs_1")


async def test_a_committed_hold_takes_its_stock_out_of_the_house(stack: Stack) -> None:
    hold = await stack.made(("TEE", 3))
    assert await stack.stock_of() == (7, 3)

    answer = await stack.post(hold["holdId"], "commit")

    assert (answer.status_code, answer.json()["status"]) == (200, "committed")
    assert await stack.stock_of() == (7, 0)
    assert await stack.run_of(hold["holdId"]).result() == Ended("committed")
    await assert_stock_adds_up(stack.engine)


async def test_a_released_hold_gives_its_stock_back(stack: Stack) -> None:
    hold = await stack.made(("TEE", 3))

    answer = await stack.post(hold["holdId"], "release", {"reason": "changed their mind"})

    assert (answer.status_code, answer.json()["reason"]) == (200, "changed their mind")
    assert await stack.stock_of() == (10, 0)
    assert await stack.run_of(hold["holdId"]).result() == Ended("released")
    await assert_stock_adds_up(stack.engine)


async def test_a_hold_expires_at_its_deadline_and_not_before(stack: Stack) -> None:
    (hold,) = await held(stack, 1, ttl_seconds=2)
    assert await hold.handle.result() == Ended("expired")

    row = await stack.read(hold.hold_id)
    late = datetime.fromisoformat(row["expiredAt"]) - datetime.fromisoformat(row["expiresAt"])
    assert late.total_seconds() >= 0
    assert (row["status"], row["reason"]) == ("expired", "deadline")
    assert await stack.stock_of() == (10, 0)
    assert stack.sampled("inventory_hold_expiry_lag_seconds_count") == 1
    await assert_stock_adds_up(stack.engine)


async def test_an_extension_of_a_hold_that_ended_in_the_database_is_refused(stack: Stack) -> None:
    hold = await stack.made()
    key = {"shop_id": SHOP, "hold_id": hold["holdId"]}
    await settle(stack.engine, **key, to=HoldStatus.RELEASED, reason="repaired", actor="test")

    answer = await stack.post(hold["holdId"], "extend", {"ttlSeconds": 60})

    assert (answer.status_code, answer.json()["status"]) == (409, "released")


async def test_a_hold_of_twenty_minutes_lives_twenty_minutes(skipping: SkippingStack) -> None:
    hold = await skipping.stack.made(("TEE", 3))
    await skipping.pass_time(hold["holdId"], 1190)
    assert await skipping.is_open(hold["holdId"])

    await skipping.pass_time(hold["holdId"], 11)

    assert await skipping.stack.run_of(hold["holdId"]).result() == Ended("expired")
    assert await skipping.stack.stock_of() == (10, 0)


async def test_an_extended_hold_lives_longer_but_not_past_the_ceiling(skipping: SkippingStack) -> None:
    stack, hold = skipping.stack, await skipping.stack.made()
    for seconds in (1200, 3600):
        assert (await stack.post(hold["holdId"], "extend", {"ttlSeconds": seconds})).status_code == 200
    refused = await stack.post(hold["holdId"], "extend", {"ttlSeconds": 60})
    assert (refused.status_code, refused.json()["error"]) == (409, "hold_extend_limit")
    await skipping.pass_time(hold["holdId"], 3590)
    assert await skipping.is_open(hold["holdId"])

    await skipping.pass_time(hold["holdId"], 11)

    assert await stack.run_of(hold["holdId"]).result() == Ended("expired")


async def test_a_payment_commits_the_hold_and_is_noted_with_it(stack: Stack) -> None:
    hold = await stack.made()
    run = stack.run_of(hold["holdId"])
    await run.signal(HoldWorkflow.payment_succeeded, CARD)

    assert await run.result() == Ended("committed")
    row = await stack.read(hold["holdId"])
    assert (row["paymentIntentId"], row["reason"]) == ("pi_card", "payment")
    assert stack.counted("inventory_late_payment") == 0


async def test_the_same_payment_twice_is_one_and_a_second_one_is_reported(stack: Stack) -> None:
    hold = await stack.made()
    run = stack.run_of(hold["holdId"])
    other = Payment(payment_intent_id=f"pi_{hold['holdId']}", session_id="cs_2")
    async with locked(stack):  # until all have come the first one does not end the hold
        for payment in (CARD, CARD, other):
            await run.signal(HoldWorkflow.payment_succeeded, payment)

    assert await run.result() == Ended("committed")
    assert stack.counted("inventory_hold_committed") == 1
    await until(lambda: stack.counted("inventory_late_payment") == 1, "the second one reported")


async def test_a_declined_attempt_ends_nothing(stack: Stack) -> None:
    hold = await stack.made()
    run = stack.run_of(hold["holdId"])
    for event in ("evt_1", "evt_2", "evt_1"):
        await run.signal(HoldWorkflow.payment_failed, PaymentFailed(CARD, event))

    seen = await run.query(HoldWorkflow.snapshot)

    assert (seen.status, seen.failed_attempts) == ("active", 2)
    assert (await stack.read(hold["holdId"]))["status"] == "active"


async def test_a_payment_under_way_moves_the_deadline_and_holds_a_cancel_back(skipping: SkippingStack) -> None:
    stack, hold = skipping.stack, await skipping.stack.made(ttlSeconds=60)
    run = stack.run_of(hold["holdId"])
    week = PaymentProcessing(CARD, grace_seconds=7 * 86_400)
    await run.signal(HoldWorkflow.payment_processing, week)
    await skipping.pass_time(hold["holdId"], 86_400)
    await run.signal(HoldWorkflow.payment_processing, week)
    await run.signal(HoldWorkflow.cancel, Cancel(actor="shopper"))
    await skipping.pass_time(hold["holdId"], 6 * 86_400 - 10)
    assert await skipping.is_open(hold["holdId"])

    await skipping.pass_time(hold["holdId"], 11)

    assert await run.result() == Ended("released")


async def test_a_message_that_changes_nothing_replaces_no_timer(stack: Stack) -> None:
    hold = await stack.made()
    run = stack.run_of(hold["holdId"])
    week = PaymentProcessing(CARD, grace_seconds=7 * 86_400)
    for _ in range(6):
        await run.signal(HoldWorkflow.payment_processing, week)
        await run.query(HoldWorkflow.snapshot)  # so that the next one comes in a task of its own

    kinds = [event.event_type for event in (await run.fetch_history()).events]

    assert kinds.count(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED) == 6
    assert kinds.count(EventType.EVENT_TYPE_TIMER_STARTED) == 2  # until the deadline, then until the grace period's end
    await run.signal(HoldWorkflow.payment_succeeded, CARD)
    assert await run.result() == Ended("committed")


async def test_a_cancel_held_back_goes_on_when_the_payment_under_way_fails(stack: Stack) -> None:
    hold = await stack.made()
    run = stack.run_of(hold["holdId"])
    await run.signal(HoldWorkflow.payment_processing, PaymentProcessing(CARD, grace_seconds=86_400))
    await run.signal(HoldWorkflow.cancel, Cancel(actor="shopper", reason="cancelled"))
    await run.signal(HoldWorkflow.cancel, Cancel(actor="stripe", reason="other", payment=Payment("pi_other", "cs_2")))
    assert (await run.query(HoldWorkflow.snapshot)).ending is None

    await run.signal(HoldWorkflow.cancel, Cancel(actor="stripe", reason="failed", payment=CARD))

    assert await run.result() == Ended("released")
    assert (await stack.read(hold["holdId"]))["reason"] == "cancelled"


async def test_a_cancel_in_the_temporal_ui_releases_the_hold(stack: Stack) -> None:
    hold = await stack.made()
    run = stack.run_of(hold["holdId"])
    await run.cancel()
    await run.cancel()

    assert await run.result() == Ended("released")
    row = await stack.read(hold["holdId"])
    assert (row["status"], row["reason"]) == ("released", "cancelled_in_temporal")
    assert await stack.stock_of() == (10, 0)


async def test_a_hold_cancelled_before_its_first_task_ends_without_keeping_stock(stack: Stack) -> None:
    hold = await start_hold(stack)
    await hold.handle.cancel()

    assert (await hold.handle.result()).status == "released"
    assert await stack.stock_of() == (10, 0)
    await assert_stock_adds_up(stack.engine)


async def test_a_shortage_is_a_result_and_leaves_no_row(stack: Stack) -> None:
    hold, answer = await start_and_ask(stack, "reserved", answers=ReserveOutcome, sku="NONE")

    assert answer == Shortage((ShortItem("NONE", "", 1, 0, known=False),))
    assert await hold.handle.result() == Ended("rejected")
    description = await hold.handle.describe()
    assert description.typed_search_attributes[HOLD_STATUS] == "rejected"


async def test_a_commit_of_a_hold_that_was_refused_is_told_so(stack: Stack) -> None:
    _, answer = await start_and_ask(stack, "commit", Commit("test"), answers=Ended, sku="NONE")

    assert answer == Ended("rejected")


async def test_stock_is_not_taken_for_a_caller_who_has_gone(stack: Stack) -> None:
    hold, answer = await start_and_ask(stack, "reserved", answers=ReserveOutcome, request_timeout_ms=0)

    assert answer == TooLate()
    assert await hold.handle.result() == Ended("rejected")
    assert await stack.stock_of() == (10, 0)


async def test_the_workflow_reports_what_the_database_has(stack: Stack) -> None:
    hold = await stack.made()
    async with stack.engine.connect() as connection:
        await connection.exec_driver_sql(
            'UPDATE "InventoryHold" SET status = \'released\', "releasedAt" = now() WHERE id = %(id)s',
            {"id": hold["holdId"]},
        )

    answer = await stack.post(hold["holdId"], "commit")

    assert (answer.status_code, answer.json()["status"]) == (409, "released")
    assert await stack.run_of(hold["holdId"]).result() == Ended("released")
    assert stack.counted("inventory_hold_committed") == 0


async def test_a_hold_whose_row_is_gone_ends_as_missing(stack: Stack) -> None:
    hold = await stack.made()
    async with stack.engine.connect() as connection:
        await connection.exec_driver_sql('DELETE FROM "InventoryHold"')

    assert (await stack.post(hold["holdId"], "release")).status_code == 404
    assert await stack.run_of(hold["holdId"]).result() == Ended("missing")


async def test_extend_of_an_ended_hold_revives_nothing(stack: Stack) -> None:
    (hold,) = await held(stack, 1, ttl_seconds=1)
    assert await hold.handle.result() == Ended("expired")

    answer = await stack.post(hold.hold_id, "extend", {"ttlSeconds": 600})

    assert (answer.status_code, answer.json()["status"]) == (409, "expired")
    assert await stack.stock_of() == (10, 0)


async def test_an_extend_while_the_run_still_counts_down_moves_the_search_attribute(stack: Stack) -> None:
    hold = await stack.made()
    await stack.post(hold["holdId"], "extend", {"ttlSeconds": 600})

    description = await stack.run_of(hold["holdId"]).describe()
    expires = {pair.key.name: pair.value for pair in description.typed_search_attributes}["HoldExpiresAt"]
    row = await stack.read(hold["holdId"])

    assert expires.astimezone(UTC) == datetime.fromisoformat(row["expiresAt"])


async def test_an_extension_that_gains_nothing_is_refused_by_the_workflow_itself(stack: Stack) -> None:
    (hold,) = await held(stack, 1, ttl_seconds=1200, max_ttl_seconds=1200)
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await hold.handle.execute_update("extend", Extend(60))
    assert getattr(refused.value.cause, "type", None) == "hold_extend_limit"
    await send(hold, "cancel")
