"""Opposite messages to one hold: in one workflow task, while it settles, and after it settled."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import permutations
from typing import Any

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.service import RPCStatusCode
from temporalio.worker import Worker

from core.workflow_runner import FreeingWorkflowRunner
from dev.harness.invariants import assert_stock_adds_up
from domain.holds import Line
from domain.payments import Payment
from inventory.settle import Settlement, settle
from tests.stack import Stack, running_stack
from tests.waiting import until as until_true
from tests.workflow.sending import GIVING_BACK, MESSAGES, SELLING, Hold, held, send, until, until_settling
from workflows.hold import HoldWorkflow
from workflows.messages import Continued
from workflows.payment_messages import PaymentProcessing

CUT_OFF = (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION)
PAIRS = list(permutations(MESSAGES, 2))
AMENDED = [(message, "amend") for message in MESSAGES]
EITHER = pytest.mark.parametrize(
    "pairs", [PAIRS, [*AMENDED, *((second, first) for first, second in AMENDED)]], ids=["pairs", "with amend"]
)
FIRST_ENDS = pytest.mark.parametrize(
    "pairs", [[pair for pair in each if pair[0] != "extend"] for each in (PAIRS, AMENDED)], ids=["pairs", "with amend"]
)


def winner(*messages: str) -> str:
    """The rule: payment and commit beat cancel, cancel beats extend, extend beats the deadline, which beats amend."""
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


CLOSED = Continued(Payment("pi_closed"), closed=True, failed=(), extensions=(), checkout=None, session_expires_at=None)
"""What a run knows whose payment nobody can make any more."""


async def made_and_left(stack: Stack, pairs: list[tuple[str, str]], **fields: Any) -> list[tuple[Hold, str, str]]:
    """Make a hold for each pair; those with a deadline get one that comes soon. No worker runs afterwards."""
    near = [p for p in pairs if "deadline" in p]
    far = [p for p in pairs if "deadline" not in p]
    async with stack.worker():
        holds = await held(stack, len(far), units=2, **fields)
    for seconds in (4, 16, 64):
        began = time.monotonic()
        async with stack.worker():
            soon = await held(stack, len(near), units=2, ttl_seconds=seconds, **fields)
        if time.monotonic() - began < seconds:  # the worker has ended before the deadlines
            return [(hold, *pair) for hold, pair in zip([*holds, *soon], [*far, *near], strict=True)]
    raise AssertionError("no holds could be left to their deadline")


@EITHER
async def test_in_one_task_the_rule_decides_whatever_the_order(idle: Stack, pairs: list[tuple[str, str]]) -> None:
    cases = await made_and_left(idle, pairs)
    await asyncio.gather(*(send(hold, first) for hold, first, _ in cases))
    await asyncio.gather(*(send(hold, second) for hold, _, second in cases))

    async with idle.worker():
        for hold, first, second in cases:
            expected = winner(first, second)
            if expected == "active":
                if "amend" in (first, second):
                    assert (await hold.answer("amend")).outcome.lines == (Line("TEE", "", 2),)
                assert (await hold.answer("extend")).ended is None
                assert (await idle.read(hold.hold_id))["status"] == "active"
                continue
            assert (await hold.handle.result()).status == expected, (first, second)
            assert (await idle.read(hold.hold_id))["status"] == expected
            for message in {first, second} & {"commit", "part", "release"}:
                assert (await hold.answer(message)).status == expected, (first, second)
            if expected == "committed":
                sold = (await idle.read(hold.hold_id))["items"][0]["sold"]
                assert sold in {1 if message == "part" else 2 for message in {first, second} & set(SELLING)}
            if "extend" in (first, second):
                answer = await hold.answer("extend")
                # The SDK hands a cancel of the run over after the updates of its task: the extension came first.
                told = answer == "hold_not_active" or answer.ended == expected or "ui_cancel" in (first, second)
                assert told, (first, second, answer)
            if "amend" in (first, second):
                answer = await hold.answer("amend")
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


@pytest.fixture
def settling(monkeypatch: pytest.MonkeyPatch) -> dict[str, asyncio.Event]:
    """For each hold, whether its settle has begun, of which the history has no trace before it is done."""
    begun: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def noted(engine: AsyncEngine, *, hold_id: str, **how: Any) -> Settlement | None:
        begun[hold_id].set()
        return await settle(engine, hold_id=hold_id, **how)

    monkeypatch.setattr("activities.stock.settle", noted)
    return begun


@FIRST_ENDS
async def test_while_it_settles_the_first_message_wins(
    idle: Stack, database: str, settling: dict[str, asyncio.Event], pairs: list[tuple[str, str]]
) -> None:
    cases = await made_and_left(idle, pairs)
    async with idle.worker():
        async with locked_stock(database):
            await asyncio.gather(*(send(hold, first) for hold, first, _ in cases))
            await asyncio.gather(*(settling[hold.hold_id].wait() for hold, _, _ in cases))
            await asyncio.gather(*(send(hold, second) for hold, _, second in cases if second != "deadline"))
        await assert_first_won(idle, cases)


@FIRST_ENDS
async def test_after_the_result_of_settle_the_first_message_has_won(idle: Stack, pairs: list[tuple[str, str]]) -> None:
    """A worker for activities only lets the result come in while no workflow task can be done.

    Only a hold whose payment was closed has such a moment: else the result and the run's end are recorded together.
    """
    cases = await made_and_left(idle, [pair for pair in pairs if pair[0] not in SELLING], continued=CLOSED)
    deciding = Worker(
        idle.temporal,
        task_queue=idle.task_queue,
        workflows=[HoldWorkflow],
        activities=[idle.stock.reserve, idle.stock.move_deadline],
        no_remote_activities=True,
        workflow_runner=FreeingWorkflowRunner(),  # as in production
    )
    acting = Worker(idle.temporal, task_queue=idle.task_queue, activities=[idle.stock.settle])
    async with deciding:
        await asyncio.gather(*(send(hold, first) for hold, first, _ in cases))
        await asyncio.gather(*(until_settling(hold) for hold, _, _ in cases))
    async with acting:
        for hold, _, _ in cases:
            await until(hold.handle, EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED)
    await asyncio.gather(*(send(hold, second) for hold, _, second in cases if second != "deadline"))
    async with idle.worker():
        await assert_first_won(idle, cases)


@FIRST_ENDS
async def test_a_message_between_the_end_in_the_database_and_its_record_changes_nothing(
    idle: Stack, monkeypatch: pytest.MonkeyPatch, pairs: list[tuple[str, str]]
) -> None:
    """The message repeats the task, which knows more than the one that ended the hold."""
    cases = await made_and_left(idle, [pair for pair in pairs if pair[0] not in SELLING])
    told = {hold.hold_id: (hold, second) for hold, _, second in cases if second != "deadline"}

    async def then_told(engine: AsyncEngine, *, hold_id: str, **how: Any) -> Settlement | None:
        settlement = await settle(engine, hold_id=hold_id, **how)
        if hold_id in told:
            await send(*told.pop(hold_id))
        return settlement

    monkeypatch.setattr("activities.stock.settle", then_told)
    await asyncio.gather(*(send(hold, first) for hold, first, _ in cases))
    async with idle.worker():
        await assert_first_won(idle, cases)
    assert not told


async def assert_first_won(stack: Stack, cases: list[tuple[Hold, str, str]]) -> None:
    """Check the end, what each caller was told, and that a payment that bought nothing was reported."""
    unclaimed = 0
    for hold, first, second in cases:
        expected = winner(first)
        assert (await hold.handle.result()).status == expected, (first, second)
        assert (await stack.read(hold.hold_id))["status"] == expected
        if expected == "committed":  # the first commit decides what is sold
            assert (await stack.read(hold.hold_id))["items"][0]["sold"] == (1 if first == "part" else 2)
        for message in {first, second} & {"commit", "part", "release"}:
            answer = await hold.answer(message)
            # A message that comes while the run ends is cut off; the API asks again then, or the database.
            assert answer in CUT_OFF or answer.status == expected, (first, second, answer)
        if second in ("extend", "amend"):
            answer = await hold.answer(second)
            assert answer in ("hold_not_active", *CUT_OFF), (first, second, answer)
        told = second == "payment" or (second == "event" and await hold.answer(second) not in CUT_OFF)
        unclaimed += told and first not in ("payment", "event")  # that was the same payment
    await until_true(lambda: stack.counted("inventory_late_payment") == unclaimed, "each late payment reported")
    await assert_stock_adds_up(stack.engine)


@pytest.mark.parametrize("what", ["amend", "make_way"])
async def test_a_change_beside_a_cancel_that_waits_for_a_payment_is_answered(idle: Stack, what: str) -> None:
    async with idle.worker():
        [hold] = await held(idle, 1)
    await hold.handle.signal(HoldWorkflow.payment_processing, PaymentProcessing(Payment("pi_1"), 600))
    await send(hold, what)
    await send(hold, "cancel")
    async with idle.worker():
        answer = await hold.answer(what)  # the server hands signals over first, so the cancel may refuse the change
        assert answer == "hold_not_active" or answer.refused == "in_progress"
        await hold.handle.signal(HoldWorkflow.payment_succeeded, Payment("pi_1"))
        assert (await hold.handle.result()).status == "committed"
