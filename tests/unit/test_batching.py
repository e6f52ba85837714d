"""Questions that wait at the same time are asked together, and each caller gets its own answer."""

import asyncio
from collections.abc import Sequence

import pytest

from core.batching import Batches


class Server:
    """Doubles numbers. Answers only while `open` is set."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.calls: list[list[int]] = []

    async def double(self, numbers: Sequence[int]) -> list[int]:
        self.calls.append(list(numbers))
        await self.open.wait()
        if 0 in numbers:
            raise ZeroDivisionError
        return [number * 2 for number in numbers]


async def settled() -> None:
    """Let every task run until it waits for the server or for another call."""
    for _ in range(10):
        await asyncio.sleep(0)


async def started(batches: Batches[int, int], numbers: Sequence[int]) -> list[asyncio.Task[int]]:
    tasks = []
    for number in numbers:
        tasks.append(asyncio.create_task(batches.ask(number)))
        await settled()
    return tasks


async def test_what_waits_for_a_call_is_asked_in_one_and_answered_each() -> None:
    server = Server()
    tasks = await started(Batches(server.double, seconds=60), range(1, 8))
    server.open.set()
    assert await asyncio.gather(*tasks) == [2, 4, 6, 8, 10, 12, 14]
    assert server.calls == [[1], [2], [3, 4, 5, 6, 7]]


async def test_a_caller_who_has_gone_is_not_asked_for_and_ends_nobody_elses_call() -> None:
    server = Server()
    first, second, third, gone, last = await started(Batches(server.double, seconds=60), range(1, 6))
    first.cancel()
    gone.cancel()
    await asyncio.sleep(0)
    server.open.set()
    assert list(await asyncio.gather(second, third, last)) == [4, 6, 10]
    assert server.calls == [[1], [2], [3, 5]]


async def test_a_failed_call_fails_for_those_it_asked_for_only() -> None:
    server = Server()
    batches = Batches(server.double, seconds=60)
    server.open.set()
    answers = await asyncio.gather(*await started(batches, [1, 0, 3]), return_exceptions=True)
    assert [type(answer) for answer in answers] == [int, ZeroDivisionError, int]


async def test_a_call_without_an_answer_does_not_keep_later_questions_waiting() -> None:
    server = Server()
    batches = Batches(server.double, seconds=0.01)
    stuck = await started(batches, [1, 2])
    for task in stuck:
        with pytest.raises(TimeoutError):
            await task
    server.open.set()
    assert await batches.ask(3) == 6


async def test_a_question_that_comes_just_when_every_call_ends_is_asked() -> None:
    server = Server()
    batches = Batches(server.double, seconds=60)

    async def twice() -> int:
        return await batches.ask(await batches.ask(1))

    first = asyncio.create_task(twice())
    await settled()
    [second] = await started(batches, [2])
    server.open.set()
    assert list(await asyncio.wait_for(asyncio.gather(first, second), timeout=60)) == [4, 4]
