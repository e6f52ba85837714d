"""A load generator of buyers who all want one item: each tries once or repeatedly, and every answer is timed.

`python -m bench.rush` reads one job as JSON and prints its result as JSON: a process of its own, as `bench.load` is.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import count

import uvloop

from bench.connection import Connection, post


@dataclass(frozen=True)
class Rush:
    """`clients` at once make `tries` in all to hold one unit, of each item in its turn. Who is told 429 comes again."""

    port: int
    token: str
    shop: str
    skus: Sequence[str]
    clients: int
    tries: int
    seconds: float
    """After which nobody tries any more."""


@dataclass
class Answers:
    """Every answer: counted by status, timed by kind. Times are seconds from the first try."""

    statuses: dict[str, int] = field(default_factory=dict)
    held_at: list[float] = field(default_factory=list)
    refused_at: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, *kinds: str) -> int:
        """Return how many answers began so: `5` for those of 500 to 599."""
        return sum(number for status, number in self.statuses.items() if status.startswith(kinds))

    @property
    def sold_out_at(self) -> float:
        """When the last unit was held."""
        return max(self.held_at, default=0.0)

    def held_a_second(self, units: int) -> float:
        """Return the rate at which the first so many units were held: the last ones go to whoever asks for them."""
        return units / sorted(self.held_at)[units - 1] if len(self.held_at) >= units else float("nan")

    @property
    def refusals_a_second(self) -> float:
        """The rate of refusals once everything was held."""
        late = [at for at in self.refused_at if at > self.sold_out_at]
        return len(late) / max(self.seconds - self.sold_out_at, 1e-9)


class _Run:
    def __init__(self, rush: Rush) -> None:
        self._rush = rush
        self._left = rush.tries
        self._numbers = count()
        self._name = time.time_ns()
        self._statuses: Counter[str] = Counter()
        self._answers = Answers()
        self._began = 0.0

    async def run(self) -> Answers:
        connections = [await Connection.open(self._rush.port) for _ in range(self._rush.clients)]
        self._began = time.perf_counter()
        await asyncio.gather(*(self._client(connection) for connection in connections))
        self._answers.seconds = time.perf_counter() - self._began
        self._answers.statuses = dict(self._statuses)
        return self._answers

    async def _client(self, connection: Connection) -> None:
        while self._left > 0 and time.perf_counter() - self._began < self._rush.seconds:
            self._left -= 1
            asked = time.perf_counter()
            try:
                status, body = await connection.ask(self._request())
            except OSError as error:
                self._statuses[type(error).__name__] += 1
                connection = await Connection.open(self._rush.port)
                continue
            now = time.perf_counter()
            if status == 409 and b'"insufficient_stock"' not in body:
                self._statuses["409, another error"] += 1
                continue
            self._statuses[str(status)] += 1
            if status == 201:
                self._answers.held_at.append(now - self._began)
            elif status == 409:
                self._answers.refused_at.append(now - self._began)
                self._answers.refused_ms.append((now - asked) * 1000)
            elif status == 429:
                self._left += 1
                await asyncio.sleep(json.loads(body).get("retryAfter", 1000) / 1000)
        connection.close()

    def _request(self) -> bytes:
        rush = self._rush
        number = next(self._numbers)
        key = f"Idempotency-Key: {self._name}-{number}\r\n"
        body = {"shopId": rush.shop, "items": [{"sku": rush.skus[number % len(rush.skus)], "quantity": 1}]}
        headers = f"Authorization: Bearer {rush.token}\r\n{key}"
        return post("/api/inventory/holds", json.dumps(body).encode(), headers)


def rush_for(rush: Rush) -> Answers:
    """Run the rush in a process of its own and return its answers."""
    command = [sys.executable, "-m", "bench.rush"]
    ran = subprocess.run(command, input=json.dumps(asdict(rush)), stdout=subprocess.PIPE, text=True, check=True)
    return Answers(**json.loads(ran.stdout))


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(_Run(Rush(**json.load(sys.stdin))).run()))))
