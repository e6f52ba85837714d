"""Holds that are due together: all of them end, and checkouts are answered meanwhile."""

import asyncio
from datetime import datetime

import pytest

from dev.harness.invariants import assert_stock_adds_up
from tests.stack import Stack
from tests.workflow.sending import held
from workflows.messages import Ended


@pytest.fixture
async def stack(own_stack: Stack) -> Stack:
    """A product for each test: it knows no other holds that end."""
    return own_stack


async def test_many_holds_that_are_due_together_end_while_checkouts_are_answered(stack: Stack) -> None:
    await stack.put(100)
    holds = await held(stack, 60, ttl_seconds=2)
    ends = asyncio.gather(*(hold.handle.result() for hold in holds))
    while not ends.done():
        made = await stack.made()
        assert (await stack.post(made["holdId"], "commit")).status_code == 200
    assert set(await ends) == {Ended("expired")}
    assert (await stack.stock_of())[1] == 0
    await assert_stock_adds_up(stack.engine)


async def test_ends_beyond_those_that_a_second_has_room_for_come_later_than_the_deadline_that_was_told(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.ends_by_second.ENDS_PER_SECOND", 1)
    holds = await held(stack, 3, ttl_seconds=3)
    told = [await stack.read(hold.hold_id) for hold in holds]
    assert {row["status"] for row in told} == {"active"}
    await asyncio.gather(*(hold.handle.result() for hold in holds))
    ended = [await stack.read(hold.hold_id) for hold in holds]
    assert [row["expiresAt"] for row in ended] == [row["expiresAt"] for row in told]
    seconds = sorted(int(datetime.fromisoformat(row["expiredAt"]).timestamp()) for row in ended)
    due = min(int(datetime.fromisoformat(row["expiresAt"]).timestamp()) for row in ended)
    assert all(second >= due + place for place, second in enumerate(seconds))
