"""Joins questions that wait at the same time into one call: a statement for many costs little more than for one."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from core.timeouts import run_with_timeout

Question = TypeVar("Question")
Answer = TypeVar("Answer")

_CALLS = 2
"""At once. A question that finds fewer calls under way goes out alone, at once; the others wait for one of them."""
_MOST = 64
"""Questions in one call."""


class Batches(Generic[Question, Answer]):
    """Asks questions together. Each is asked after its caller came, so an answer is never older than its question.

    `ask_all` returns one answer for each question, in their order. What it raises, every caller of that call gets, and
    TimeoutError after `seconds`, so that a call without an answer does not keep later ones waiting.
    """

    def __init__(self, ask_all: Callable[[Sequence[Question]], Awaitable[Sequence[Answer]]], seconds: float) -> None:
        self._ask_all = ask_all
        self._seconds = seconds
        self._waiting: deque[tuple[Question, asyncio.Future[Answer]]] = deque()
        self._calls = 0
        self._tasks: set[asyncio.Task[None]] = set()
        """The event loop itself holds tasks by weak references only."""

    async def ask(self, question: Question) -> Answer:
        """Return the answer to the question, and raise as `ask_all` does."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._calls < _CALLS:
            self._calls += 1
            call = asyncio.create_task(self._ask_those_who_wait())
            self._tasks.add(call)
            call.add_done_callback(self._tasks.discard)
        return await answer

    async def _ask_those_who_wait(self) -> None:
        try:
            while asked := self._next():
                await self._ask_together(asked)
        finally:  # before anybody else runs: a question that still counted on this call would wait for ever
            self._calls -= 1

    async def _ask_together(self, asked: "list[tuple[Question, asyncio.Future[Answer]]]") -> None:
        try:
            answers = await run_with_timeout(self._seconds, self._all([question for question, _ in asked]))
            for (_, answer), told in zip(asked, answers, strict=True):
                if not answer.done():
                    answer.set_result(told)
        except Exception as error:  # noqa: BLE001 - each caller raises it
            for _, answer in asked:
                if not answer.done():
                    answer.set_exception(error)

    async def _all(self, questions: Sequence[Question]) -> Sequence[Answer]:
        return await self._ask_all(questions)

    def _next(self) -> list[tuple[Question, "asyncio.Future[Answer]"]]:
        """Return the questions that have waited longest, without those whose callers have gone."""
        asked: list[tuple[Question, asyncio.Future[Answer]]] = []
        while self._waiting and len(asked) < _MOST:
            question, answer = self._waiting.popleft()
            if not answer.done():
                asked.append((question, answer))
        return asked
