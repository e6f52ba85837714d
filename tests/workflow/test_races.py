"""Opposite messages to one hold: in one workflow task, while it settles, and after it settled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import permutations

import psycopg
import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from tests.invariants import assert_stock_adds_up
from tests.stack import Stack, running_stack
from tests.workflow.sending import GIVING_BACK, MESSAGES, SELLING, Hold, held, send, until, until_settling
from workflows.hold import HoldWorkflow
from workflows.messages import Ended

PAIRS = list(permutations(MESSAGES, 2))
ENDING_PAIRS = [(first, second) for first, second in PAIRS if first != "extend"]


def winner(*messages: str) -> str:
    """The rule: payment and commit beat cancel, cancel beats extend, extend beats the deadline."""
    if set(messages) & set(SELLING):
        return "committed"
    if set(messages) & set(GIVING_BACK):
        return "released"
    return "active" if "extend" in messages else "expired"


@pytest.fixture
async def idle(database: str, temporal: Client) -> AsyncIterator[Stack]:
    """The product without a worker: the test says when one runs."""
    async with running_stack(database, temporal, with_worker=False) as stack:
        await stack.put(1000)
        yield stack


async def made_and_left(stack: Stack, pairs: list[tuple[str, str]]) -> list[tuple[Hold, str, str]]:
    """Make a hold for each pair; those with a deadline get one that comes at once. No worker runs afterwards."""
    async with stack.worker():
        near = [p for p in pairs if "deadline" in p]
        far = [p for p in pairs if "deadline" not in p]
        holds = await held(stack, len(far))
        # The reserve of the others waits for the next worker: their deadlines must not pass before the messages.
        soon = await held(stack, len(near), ttl_seconds=4)
    return [(hold, *pair) for hold, pair in zip([*holds, *soon], [*far, *near], strict=True)]


async def test_in_one_task_the_rule_decides_whatever_the_order(idle: Stack) -> None:
    cases = await made_and_left(idle, PAIRS)
    await asyncio.gather(*(send(hold, first) for hold, first, _ in cases))
    await asyncio.gather(*(send(hold, second) for hold, _, second in cases))

    async with idle.worker():
        for hold, first, second in cases:
            expected = winner(first, second)
            if expected == "active":
                assert (await hold.answer("extend")).ended is None
                assert (await idle.read(hold.hold_id))["status"] == "active"
                continue
            assert (await hold.handle.result()).status == expected, (first, second)
            assert (await idle.read(hold.hold_id))["status"] == expected
            for message in {first, second} & {"commit", "release"}:
                assert await hold.answer(message) == Ended(expected), (first, second)
            if "extend" in (first, second):
                answer = await hold.answer("extend")
                # The SDK hands a cancel of the run over after the updates of its task: the extension came first.
                told = answer == "hold_not_active" or answer.ended == expected or "ui_cancel" in (first, second)
                assert told, (first, second, answer)
    await assert_stock_adds_up(idle.engine)


@asynccontextmanager
async def locked_stock(database: str) -> AsyncIterator[None]:
    """Hold the rows of all items, so that no settle gets through."""
    async with await psycopg.AsyncConnection.connect(database) as connection:
        await connection.execute('SELECT FROM "InventoryItem" FOR UPDATE')
        yield
        await connection.rollback()


async def test_while_it_settles_the_first_message_wins(idle: Stack, database: str) -> None:
    cases = await made_and_left(idle, ENDING_PAIRS)
    async with idle.worker():
        async with locked_stock(database):
            await asyncio.gather(*(send(hold, first) for hold, first, _ in cases))
            await asyncio.gather(*(until_settling(hold) for hold, _, _ in cases))
            await asyncio.gather(*(send(hold, second) for hold, _, second in cases if second != "deadline"))
        await assert_first_won(idle, cases)


async def test_after_the_result_of_settle_the_first_message_has_won(idle: Stack) -> None:
    """A worker for activities only lets the result come in while no workflow task can be done."""
    cases = await made_and_left(idle, ENDING_PAIRS)
    deciding = Worker(
        idle.temporal,
        task_queue=idle.task_queue,
        workflows=[HoldWorkflow],
        activities=[idle.stock.reserve, idle.stock.move_deadline],
        no_remote_activities=True,
        workflow_runner=SandboxedWorkflowRunner(),
    )
    acting = Worker(
        idle.temporal,
        task_queue=idle.task_queue,
        activities=[idle.stock.settle, idle.payments.report_unclaimed_payment],
    )
    async with deciding:
        await asyncio.gather(*(send(hold, first) for hold, first, _ in cases))
        await asyncio.gather(*(until_settling(hold) for hold, _, _ in cases))
    async with acting:
        for hold, _, _ in cases:
            await until(hold.handle, EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED)
    await asyncio.gather(*(send(hold, second) for hold, _, second in cases if second != "deadline"))
    async with idle.worker():
        await assert_first_won(idle, cases)


async def assert_first_won(stack: Stack, cases: list[tuple[Hold, str, str]]) -> None:
    """Check the end, what each caller was told, and that a payment that bought nothing was reported."""
    unclaimed = 0
    for hold, first, second in cases:
        expected = winner(first)
        assert (await hold.handle.result()).status == expected, (first, second)
        assert (await stack.read(hold.hold_id))["status"] == expected
        for message in {first, second} & {"commit", "release"}:
            assert await hold.answer(message) == Ended(expected), (first, second)
        if second == "extend":
            assert await hold.answer("extend") == "hold_not_active", (first, second)
        unclaimed += second == "payment"
    assert stack.counted("inventory_late_payment") == unclaimed
    await assert_stock_adds_up(stack.engine)
