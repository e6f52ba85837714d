"""A run that is terminated, reset or evicted; messages that come when there is no run."""

import asyncio

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError

from dev.harness.invariants import assert_stock_adds_up
from dev.harness.stock import until_waiting
from domain.payments import Payment
from tests.stack import Stack, running_stack
from tests.waiting import until
from tests.workflow.sending import Handle, held
from workflows.hold import HoldWorkflow
from workflows.messages import Cancel, Ended


@pytest.mark.parametrize(
    ("verb", "status", "stock"), [("commit", "committed", (9, 0)), ("release", "released", (10, 0))]
)
async def test_a_message_to_a_terminated_hold_ends_it_all_the_same(
    stack: Stack, verb: str, status: str, stock: tuple[int, int]
) -> None:
    hold = await stack.made()
    await stack.run_of(hold["holdId"]).terminate()

    answer = await stack.post(hold["holdId"], verb)

    assert (answer.status_code, answer.json()["status"]) == (200, status)
    assert await stack.run_of(hold["holdId"]).result() == Ended(status)  # type: ignore[arg-type]
    assert await stack.stock_of() == stock
    await assert_stock_adds_up(stack.engine)


async def test_a_terminated_hold_can_be_extended_and_keeps_its_times(stack: Stack) -> None:
    hold = await stack.made(ttlSeconds=600)
    await stack.run_of(hold["holdId"]).terminate()

    answer = await stack.post(hold["holdId"], "extend", {"ttlSeconds": 600})

    assert answer.status_code == 200, answer.text
    row = answer.json()
    assert (row["createdAt"], row["items"]) == (hold["createdAt"], hold["items"])
    assert (await stack.run_of(hold["holdId"]).describe()).status == WorkflowExecutionStatus.RUNNING
    assert (await stack.post(hold["holdId"], "extend", {"ttlSeconds": 3600})).json()["expiresAt"] > row["expiresAt"]


async def test_a_payment_beats_the_deadline_that_passed_while_no_run_was_there(stack: Stack) -> None:
    (hold,) = await held(stack, 1, ttl_seconds=1)
    await hold.handle.terminate()

    async def is_due() -> bool:
        return bool((await stack.read(hold.hold_id))["expiresAt"] <= await now(stack))

    await until(is_due, "the hold's deadline has passed")

    answer = await stack.post(hold.hold_id, "commit")

    assert (answer.status_code, answer.json()["status"]) == (200, "committed")


async def now(stack: Stack) -> str:
    """Return Postgres's time as the API writes times."""
    async with stack.engine.connect() as connection:
        found = await connection.exec_driver_sql('SELECT to_char(now(), \'YYYY-MM-DD"T"HH24:MI:SS.US"Z"\')')
        return str(found.scalar_one())


async def test_a_reset_of_an_open_hold_goes_on_with_the_same_stock_and_deadline(stack: Stack) -> None:
    hold = await stack.made()
    await reset(stack, stack.run_of(hold["holdId"]), event_id=4)

    assert (await stack.read(hold["holdId"]))["expiresAt"] == hold["expiresAt"]
    assert (await stack.post(hold["holdId"], "commit")).status_code == 200
    assert await stack.stock_of() == (9, 0)
    await assert_stock_adds_up(stack.engine)


async def test_a_reset_of_an_ended_hold_ends_as_before_and_moves_nothing(stack: Stack) -> None:
    hold = await stack.made()
    await stack.post(hold["holdId"], "commit")
    await reset(stack, stack.run_of(hold["holdId"]), event_id=4)

    assert (await stack.post(hold["holdId"], "release")).json()["status"] == "committed"
    assert await stack.run_of(hold["holdId"]).result() == Ended("committed")
    assert await stack.stock_of() == (9, 0)
    assert stack.counted("inventory_hold_committed") == 1
    await assert_stock_adds_up(stack.engine)


async def reset(stack: Stack, run: Handle, *, event_id: int) -> None:
    """Reset the run to a workflow task of its history, as an operator does in the UI."""
    described = await run.describe()
    await stack.temporal.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=WorkflowExecution(workflow_id=run.id, run_id=described.run_id),
            reason="test",
            request_id=described.run_id,
            workflow_task_finish_event_id=event_id,
        )
    )


@pytest.mark.parametrize(
    ("verb", "status", "stock"), [("commit", "committed", (9, 0)), ("release", "released", (10, 0))]
)
async def test_a_hold_terminated_while_it_settles_tells_the_callers_the_truth(
    stack: Stack, verb: str, status: str, stock: tuple[int, int]
) -> None:
    hold = await stack.made()
    async with stack.engine.connect() as connection:
        await connection.execution_options(isolation_level="READ COMMITTED")
        await connection.exec_driver_sql('SELECT FROM "InventoryItem" FOR UPDATE')
        answer = asyncio.create_task(stack.post(hold["holdId"], verb))
        await until_waiting(stack.engine, 1)
        await stack.run_of(hold["holdId"]).terminate()
        await connection.rollback()

    told = await answer

    assert (told.status_code, told.json()["status"]) == (200, status)
    assert await stack.stock_of() == stock
    await assert_stock_adds_up(stack.engine)


async def test_late_messages_to_an_ended_hold_are_answered_from_the_database(stack: Stack) -> None:
    hold = await stack.made()
    await stack.post(hold["holdId"], "release")
    run = stack.run_of(hold["holdId"])
    await run.result()

    answers = [await stack.post(hold["holdId"], verb) for verb in ("release", "commit")]
    answers.append(await stack.post(hold["holdId"], "extend", {"ttlSeconds": 60}))

    assert [(a.status_code, a.json()["status"]) for a in answers] == [
        (200, "released"),
        (409, "released"),
        (409, "released"),
    ]
    with pytest.raises(RPCError, match="already completed"):
        await run.signal(HoldWorkflow.payment_succeeded, Payment("pi_late"))


async def test_fourteen_commits_at_once_are_one_sale_and_fourteen_yeses(stack: Stack) -> None:
    hold = await stack.made()

    answers = await asyncio.gather(*(stack.post(hold["holdId"], "commit") for _ in range(14)))

    assert [(a.status_code, a.json()["status"]) for a in answers] == [(200, "committed")] * 14
    assert len({a.text for a in answers}) == 1
    assert stack.counted("inventory_hold_committed") == 1
    await assert_stock_adds_up(stack.engine)


async def test_commits_and_releases_at_once_agree_on_one_end(stack: Stack) -> None:
    holds = [await stack.made() for _ in range(8)]
    for hold in holds:
        verbs = ["commit", "release"] * 4
        answers = await asyncio.gather(*(stack.post(hold["holdId"], verb) for verb in verbs))
        (status,) = {a.json()["status"] for a in answers}
        expected = [200 if status == {"commit": "committed", "release": "released"}[verb] else 409 for verb in verbs]
        assert [a.status_code for a in answers] == expected
    await assert_stock_adds_up(stack.engine)


async def test_a_hold_lives_on_when_the_worker_keeps_nothing_in_memory(database: str, temporal: Client) -> None:
    async with running_stack(database, temporal, cached_workflows=0) as stack:
        await stack.put(10)
        holds = [await stack.made() for _ in range(3)]
        assert (await stack.post(holds[0]["holdId"], "extend", {"ttlSeconds": 60})).status_code == 200
        assert (await stack.post(holds[0]["holdId"], "commit")).json()["status"] == "committed"
        await stack.run_of(holds[1]["holdId"]).cancel()
        assert await stack.run_of(holds[1]["holdId"]).result() == Ended("released")
        await stack.run_of(holds[2]["holdId"]).signal(HoldWorkflow.cancel, Cancel("test"))
        assert await stack.run_of(holds[2]["holdId"]).result() == Ended("released")
        await assert_stock_adds_up(stack.engine)


async def test_a_reset_of_a_paid_hold_does_not_report_its_own_payment(stack: Stack) -> None:
    hold = await stack.made()
    run = stack.run_of(hold["holdId"])
    await run.signal(HoldWorkflow.payment_succeeded, Payment("pi_1"))
    assert await run.result() == Ended("committed")
    await reset(stack, run, event_id=4)

    assert await run.result() == Ended("committed")
    assert stack.counted("inventory_late_payment") == 0
    assert (await stack.read(hold["holdId"]))["paymentIntentId"] == "pi_1"
