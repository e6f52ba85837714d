"""The audit's schedule becomes what this release wants, whatever an earlier one or a person had made of it."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)

from activities.audit_schedule import AUDIT_SCHEDULE, schedule_audit
from workflows.findings import AuditRequest

QUEUE = "nobody-polls"


@pytest.fixture
async def schedule(temporal: Client) -> AsyncIterator[ScheduleHandle]:
    """The schedule as a worker makes it, paused."""
    await schedule_audit(temporal, QUEUE)
    handle = temporal.get_schedule_handle(AUDIT_SCHEDULE)
    await handle.pause(note="by a test")
    yield handle
    await handle.delete()


async def plan(handle: ScheduleHandle) -> Schedule:
    return (await handle.describe()).schedule


async def changed(handle: ScheduleHandle, change: Callable[[Any], Schedule]) -> None:
    def update(current: ScheduleUpdateInput) -> ScheduleUpdate:
        return ScheduleUpdate(schedule=change(current.description.schedule))

    await handle.update(update)


def with_action(**values: Any) -> Callable[[Any], Schedule]:
    def change(schedule: Any) -> Schedule:
        for name, value in values.items():
            setattr(schedule.action, name, value)
        return schedule  # type: ignore[no-any-return]

    return change


async def test_whatever_differs_in_an_existing_schedule_is_put_right_and_a_pause_is_kept(
    temporal: Client, schedule: ScheduleHandle
) -> None:
    made = await plan(schedule)
    for change in (
        lambda s: replace(s, spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(hours=1))])),
        lambda s: replace(s, policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.ALLOW_ALL)),
        lambda s: replace(s, policy=replace(s.policy, catchup_window=timedelta(days=1))),
        with_action(task_queue="elsewhere"),
        with_action(execution_timeout=timedelta(hours=1)),
        with_action(args=[AuditRequest("one-shop-only")]),
        with_action(static_summary="an earlier text"),
    ):
        await changed(schedule, change)
        assert await plan(schedule) != made

        await schedule_audit(temporal, QUEUE)

        assert await plan(schedule) == made
    assert made.state.paused


async def test_a_schedule_that_is_right_is_left_alone(temporal: Client, schedule: ScheduleHandle) -> None:
    before = (await schedule.describe()).info.last_updated_at

    await schedule_audit(temporal, QUEUE)

    assert (await schedule.describe()).info.last_updated_at == before
