"""Rests between the steps of long work."""

from collections.abc import AsyncIterator

import pytest

from core.rests import NO_RESTS, Rests


class Clock:
    """Time that passes only when a step or a rest says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.rested = list[float]()

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.rested.append(seconds)

    async def steps(self, *seconds: float) -> AsyncIterator[float]:
        for each in seconds:
            self.now += each
            yield each


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("core.rests.time", clock)
    monkeypatch.setattr("core.rests.asyncio", clock)
    return clock


async def test_a_rest_follows_each_step_by_its_time_and_not_by_what_is_done_with_it(clock: Clock) -> None:
    seen = []
    async for step in Rests().between(clock.steps(0.1, 0.2, 1.0)):
        clock.now += 100.0
        seen.append(step)
    assert seen == [0.1, 0.2, 1.0]
    assert clock.rested == pytest.approx([0.9, 1.8, 5.0])  # the last is the longest one


async def test_the_rests_of_several_reads_end_with_their_seconds(clock: Clock) -> None:
    rests = Rests(7.0)
    for _ in range(2):
        assert [step async for step in rests.between(clock.steps(1.0, 1.0))] == [1.0, 1.0]
    assert clock.rested == [5.0, 2.0, 0.0, 0.0]


async def test_work_that_a_person_waits_for_has_none(clock: Clock) -> None:
    assert [step async for step in NO_RESTS.between(clock.steps(1.0))] == [1.0]
    assert clock.rested == [0.0]
