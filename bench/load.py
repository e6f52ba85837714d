"""The load generator process: reads jobs as JSON lines, drives the clients, and prints one line per job.

Its CPU time is told apart from that of what it drives.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Literal

import uvloop

from bench.connection import Connection, post
from bench.usage import cpu_seconds, machine_busy_seconds

SHOP = "bench"
ITEMS = 1000

Kind = Literal["product", "floor", "validate", "open"]


@dataclass(frozen=True)
class Job:
    """A load of `clients`, each with one request at a time. The first `warm_up` seconds are not counted."""

    kind: Kind
    port: int
    token: str
    clients: int
    warm_up: float = 0.0
    seconds: float = 0.0
    holds: int = 0
    """For `open`: how many holds to create and leave open."""
    pids: dict[str, int] = field(default_factory=dict)
    """The processes whose CPU time is measured over the counted time."""


@dataclass
class Result:
    done: int = 0
    seconds: float = 0.0
    create_ms: list[float] = field(default_factory=list)
    commit_ms: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    """Creates told to come again, because the API could not have answered them in time."""
    cpu: dict[str, float] = field(default_factory=dict)
    """CPU seconds by process, including `load` and `elsewhere` (the rest of the machine)."""


class _Requests:
    def __init__(self, job: Job) -> None:
        self._auth = f"Authorization: Bearer {job.token}\r\n"
        self._numbers = count()
        self._run = time.time_ns()
        self._floor = job.kind == "floor"

    def create(self) -> bytes:
        if self._floor:
            return post("/holds", b'{"ttl_seconds": 1200}')
        number = next(self._numbers)
        key = f"Idempotency-Key: {self._run}-{number}\r\n"
        return post("/api/inventory/holds", self._body(number), self._auth + key)

    def commit(self, made: bytes) -> bytes:
        if self._floor:
            return post(f"/holds/{json.loads(made)['id']}/commit", b"{}")
        return post(f"/api/inventory/holds/{SHOP}/{json.loads(made)['holdId']}/commit", b"{}", self._auth)

    def validate(self) -> bytes:
        return post("/api/inventory/validate", self._body(next(self._numbers)), self._auth)

    def _body(self, number: int) -> bytes:
        sku = f"SKU-{number * 617 % ITEMS:04}"  # 617 is prime to 1000: all items, far from each other
        return json.dumps({"shopId": SHOP, "items": [{"sku": sku, "quantity": 1}]}).encode()


class _Run:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._requests = _Requests(job)
        self._errors: Counter[str] = Counter()
        self._result = Result()
        self._counting = job.holds > 0
        self._stopping = False
        self._left = job.holds

    async def run(self) -> Result:
        steps: dict[Kind, Callable[[Connection], Awaitable[None]]] = {
            "product": self._lifecycle,
            "floor": self._lifecycle,
            "validate": self._validation,
            "open": self._opening,
        }
        step = steps[self._job.kind]
        clients = [asyncio.create_task(self._client(step)) for _ in range(self._job.clients)]
        await asyncio.sleep(self._job.warm_up)
        began, cpu = time.perf_counter(), self._cpu()
        self._counting = True
        if self._job.holds:
            await asyncio.gather(*clients)
        else:
            await asyncio.sleep(self._job.seconds)
        self._counting = False
        self._result.seconds = time.perf_counter() - began
        self._result.cpu = {name: after - cpu[name] for name, after in self._cpu().items()}
        self._result.cpu["elsewhere"] -= sum(v for name, v in self._result.cpu.items() if name != "elsewhere")
        self._stopping = True
        await asyncio.gather(*clients)
        self._result.errors = dict(self._errors)
        return self._result

    def _cpu(self) -> dict[str, float]:
        used = {name: cpu_seconds(pid) for name, pid in self._job.pids.items()}
        return used | {"load": time.process_time(), "elsewhere": machine_busy_seconds()}

    async def _client(self, step: Callable[[Connection], Awaitable[None]]) -> None:
        connection = await Connection.open(self._job.port)
        while not self._stopping:
            try:
                await step(connection)
            except OSError as error:
                self._errors[type(error).__name__] += 1
                connection.close()
                connection = await Connection.open(self._job.port)
        connection.close()

    async def _lifecycle(self, connection: Connection) -> None:
        made, create_ms = await self._timed(connection, self._requests.create(), 201)
        if made is None:
            return
        ended, commit_ms = await self._timed(connection, self._requests.commit(made), 200)
        if ended is not None and self._counting:
            self._result.done += 1
            self._result.create_ms.append(create_ms)
            self._result.commit_ms.append(commit_ms)

    async def _validation(self, connection: Connection) -> None:
        answer, ms = await self._timed(connection, self._requests.validate(), 200)
        if answer is not None and self._counting:
            self._result.done += 1
            self._result.create_ms.append(ms)

    async def _opening(self, connection: Connection) -> None:
        if self._left <= 0:
            self._stopping = True
            return
        self._left -= 1
        made, ms = await self._timed(connection, self._requests.create(), 201)
        if made is None:
            self._left += 1
        else:
            self._result.done += 1
            self._result.create_ms.append(ms)

    async def _timed(self, connection: Connection, request: bytes, wanted: int) -> tuple[bytes | None, float]:
        began = time.perf_counter()
        status, body = await connection.ask(request)
        if status == wanted:
            return body, (time.perf_counter() - began) * 1000
        if status == 429 and (answer := json.loads(body))["error"] == "overloaded":
            self._result.refused += 1
            await asyncio.sleep(answer["retryAfter"] / 1000)  # as clients do
        else:
            self._errors[str(status)] += 1
        return None, 0.0


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(asdict(await _Run(Job(**json.loads(line))).run())), flush=True)


if __name__ == "__main__":
    uvloop.run(_serve())
