"""One caller of the product in the measuring process itself, for measurements beside a load."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from bench.connection import Connection, post
from bench.load import ITEMS, SHOP
from bench.stack import App


@dataclass
class Answers:
    """What a caller was told: milliseconds of what succeeded, and how often it got which other status."""

    create_ms: list[float] = field(default_factory=list)
    commit_ms: list[float] = field(default_factory=list)
    refused: Counter[int] = field(default_factory=Counter)


class Caller:
    """Makes one call at a time for one shop."""

    def __init__(self, app: App, shop: str = SHOP) -> None:
        self._app = app
        self._shop = shop
        self._numbers = count()
        self._run = time.time_ns()
        self._connection: Connection | None = None

    async def create(self, answers: Answers, **fields: object) -> str | None:
        """Make a hold of one line. Returns its id, or None if it was refused."""
        number = next(self._numbers)
        items = [{"sku": f"SKU-{number * 617 % ITEMS:04}", "quantity": 1}]
        body = {"shopId": self._shop, "items": items, **fields}
        key = f"Idempotency-Key: {self._run}-{number}\r\n"
        made = await self._post("", body, key, wanted=201, answers=answers, times=answers.create_ms)
        return None if made is None else str(json.loads(made)["holdId"])

    async def commit(self, answers: Answers, hold_id: str) -> None:
        """Sell the hold."""
        await self._post(
            f"/{self._shop}/{hold_id}/commit", {}, "", wanted=200, answers=answers, times=answers.commit_ms
        )

    async def buy_while(self, answers: Answers, goes_on: Callable[[], bool], every: float) -> None:
        """Make and sell a hold every so many seconds, or as soon as the one before is sold."""
        while goes_on():
            began = time.monotonic()
            hold_id = await self.create(answers)
            if hold_id is not None:
                await self.commit(answers, hold_id)
            await asyncio.sleep(max(0.0, began + every - time.monotonic()))

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    async def _post(
        self, path: str, body: object, headers: str, *, wanted: int, answers: Answers, times: list[float]
    ) -> bytes | None:
        if self._connection is None:
            self._connection = await Connection.open(self._app.port)
        headers = f"Authorization: Bearer {self._app.token}\r\n{headers}"
        began = time.perf_counter()
        status, answer = await self._connection.ask(
            post(f"/api/inventory/holds{path}", json.dumps(body).encode(), headers)
        )
        if status != wanted:
            answers.refused[status] += 1
            return None
        times.append((time.perf_counter() - began) * 1000)
        return answer
