"""The load of the overload bench, in a process of its own: creates arrive whether earlier ones are answered or not."""

import asyncio
import hashlib
import hmac
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import asdict, dataclass, field
from typing import Any

import uvloop

from bench.connection import Connection, post
from bench.load import ITEMS, SHOP

_GIVE_UP_SECONDS = 15.0
_AFTERWARDS_PER_SECOND = 10.0


@dataclass(frozen=True)
class Job:
    """What arrives in a second, for how long; with `clients`, creates do not arrive but follow each other."""

    port: int
    token: str
    seconds: float
    creates: float = 0.0
    clients: int = 0
    commits: float = 0.0
    """Of holds in `open_holds`, each once."""
    webhooks: float = 0.0
    """Of failed attempts to pay, for the last holds of `open_holds` in turns."""
    failing: int = 200
    """How many of them."""
    secret: str = ""
    open_holds: list[str] = field(default_factory=list)
    afterwards: float = 0.0
    """For how many seconds after that single creates are sent, which tell when answers are as usual again."""


@dataclass
class Answers:
    """Of one kind of requests: the answers' statuses, and of each status the times in milliseconds."""

    ms: dict[str, list[float]] = field(default_factory=dict)

    def add(self, status: str, ms: float) -> None:
        self.ms.setdefault(status, []).append(ms)

    def count(self, status: str) -> int:
        return len(self.ms.get(status, ()))

    @property
    def total(self) -> int:
        return sum(map(len, self.ms.values()))


@dataclass
class Result:
    seconds: float = 0.0
    creates: Answers = field(default_factory=Answers)
    commits: Answers = field(default_factory=Answers)
    webhooks: Answers = field(default_factory=Answers)
    made: list[str] = field(default_factory=list)
    afterwards: list[tuple[float, str, float]] = field(default_factory=list)
    """Of each later create: seconds since the end of the load, status, milliseconds."""

    @classmethod
    def read(cls, line: str) -> "Result":
        data = json.loads(line)
        for kind in ("creates", "commits", "webhooks"):
            data[kind] = Answers(data[kind]["ms"])
        return cls(**data)


class _Run:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._free: list[Connection] = []
        self._auth = f"Authorization: Bearer {job.token}\r\n"
        self._random = random.Random(1)  # noqa: S311 - the same arrivals each time
        self._asked: set[asyncio.Task[Any]] = set()
        self._result = Result()
        self._numbers = iter(range(10**9))

    async def run(self) -> Result:
        job, result = self._job, self._result
        to_commit = iter(job.open_holds)
        arrivals = (
            self._arrive(job.creates, lambda: self._create(result.creates)),
            self._arrive(job.commits, lambda: self._commit(next(to_commit))),
            self._arrive(job.webhooks, self._webhook),
            *(self._client() for _ in range(job.clients)),
        )
        began = time.perf_counter()
        await asyncio.gather(*arrivals)
        result.seconds = time.perf_counter() - began
        if job.afterwards:
            await self._look_afterwards()
        if self._asked:
            await asyncio.wait(self._asked)
        for connection in self._free:
            connection.close()
        return result

    async def _arrive(self, rate: float, request: Callable[[], tuple[Answers, bytes]]) -> None:
        async for due in self._due(rate, self._job.seconds):
            answers, data = request()
            self._spawn(self._ask(due, answers, data))

    async def _due(self, rate: float, seconds: float) -> AsyncIterator[float]:
        """Yield the time at which each request is due, then: random, as callers who know nothing of each other."""
        at = began = time.perf_counter()
        while rate and (at := at + self._random.expovariate(rate)) < began + seconds:
            await asyncio.sleep(max(0.0, at - time.perf_counter()))
            yield at

    async def _client(self) -> None:
        began = time.perf_counter()
        while time.perf_counter() < began + self._job.seconds:
            answers, data = self._create(self._result.creates)
            if await self._ask(time.perf_counter(), answers, data) != "201":
                await asyncio.sleep(0.05)

    async def _look_afterwards(self) -> None:
        ended = time.perf_counter()
        async for due in self._due(_AFTERWARDS_PER_SECOND, self._job.afterwards):
            self._spawn(self._look(due, due - ended))

    async def _look(self, due: float, after: float) -> None:
        status = await self._ask(due, Answers(), self._create(Answers())[1])
        self._result.afterwards.append((after, status, (time.perf_counter() - due) * 1000))

    def _create(self, answers: Answers) -> tuple[Answers, bytes]:
        sku = f"SKU-{next(self._numbers) * 617 % ITEMS:04}"
        body = json.dumps({"shopId": SHOP, "items": [{"sku": sku, "quantity": 1}]}).encode()
        return answers, post("/api/inventory/holds", body, self._auth)

    def _commit(self, hold_id: str) -> tuple[Answers, bytes]:
        return self._result.commits, post(f"/api/inventory/holds/{SHOP}/{hold_id}/commit", b"{}", self._auth)

    def _webhook(self) -> tuple[Answers, bytes]:
        number = next(self._numbers)
        hold_id = self._job.open_holds[-1 - number % min(self._job.failing, len(self._job.open_holds))]
        event = {
            "id": f"evt_{time.time_ns()}_{number}",
            "object": "event",
            "type": "payment_intent.payment_failed",
            "livemode": False,
            "data": {
                "object": {
                    "id": f"pi_{hold_id}",
                    "object": "payment_intent",
                    "metadata": {"inventory_reservation_id": hold_id, "shop_id": SHOP},
                }
            },
        }
        body = json.dumps(event).encode()
        now = int(time.time())
        signed = hmac.new(self._job.secret.encode(), f"{now}.".encode() + body, hashlib.sha256).hexdigest()
        header = f"Stripe-Signature: t={now},v1={signed}\r\n"
        return self._result.webhooks, post("/api/webhooks/stripe", body, header)

    async def _ask(self, due: float, answers: Answers, request: bytes) -> str:
        try:
            connection = self._free.pop() if self._free else await Connection.open(self._job.port)
            async with asyncio.timeout(_GIVE_UP_SECONDS):
                code, body = await connection.ask(request)
        except (OSError, TimeoutError) as error:
            status = type(error).__name__
        else:
            self._free.append(connection)
            status = str(code)
            if code == 201:
                self._result.made.append(json.loads(body)["holdId"])
        answers.add(status, (time.perf_counter() - due) * 1000)
        return status

    def _spawn(self, asking: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(asking)
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(asdict(await _Run(Job(**json.loads(line))).run())), flush=True)


if __name__ == "__main__":
    uvloop.run(_serve())
