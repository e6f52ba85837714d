"""Simulated shoppers who create, extend, commit, release and abandon holds over HTTP, and log the answers."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx

ITEMS = {"TEE": 5000, "MUG": 5000, "RARE": 6}
"""Units on hand by SKU. The shoppers compete for RARE."""
SHORTEST_LIFE = 30
SHOPPERS = 8
_UNKNOWN = frozenset({202, 429, 503, 504})
_PATIENCE = 12


@dataclass
class ShopperLog:
    """The answers that all shoppers received. `reconcile` compares them with the database."""

    lines: dict[str, dict[str, int]] = field(default_factory=dict)
    """Lines (quantity by SKU) of each acknowledged hold."""
    ends: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Final statuses that were reported for each hold; more than one is a contradiction."""
    answers: Counter[str] = field(default_factory=Counter)
    unexpected_answers: list[str] = field(default_factory=list)
    """Answers whose status is no documented outcome."""


class Shopper:
    """One shopper. Its choices depend on the seeded random generator only."""

    def __init__(self, http: httpx.AsyncClient, shop: str, name: str, dice: Random, log: ShopperLog) -> None:
        self._http = http
        self._shop = shop
        self._name = name
        self._dice = dice
        self._log = log

    async def shop(self, closing: asyncio.Event) -> None:
        """Go through one checkout after another until `closing` is set."""
        visit = 0
        while not closing.is_set():
            visit += 1
            await asyncio.sleep(self._dice.uniform(0.0, 0.3))
            hold_id = await self._hold(f"{self._name}-{visit}")
            if hold_id is not None:
                await self._decide(hold_id)

    async def _hold(self, key: str) -> str | None:
        """Create a hold and return its id; None if it was refused or the outcome is unknown."""
        skus = self._dice.sample(sorted(ITEMS), self._dice.choice((1, 2)))
        lines = {sku: self._dice.randint(1, 2) for sku in skus}
        body: dict[str, Any] = {
            "shopId": self._shop,
            "items": [{"sku": sku, "quantity": quantity} for sku, quantity in lines.items()],
            "ttlSeconds": SHORTEST_LIFE,
        }
        if self._dice.random() < 0.5:  # the same cart again: the hold replaces an earlier one
            body |= {"reference": f"cart-{self._name}", "replace": True}
        answer = await self._ask("/holds", body, patience=self._dice.choice((1, 4, _PATIENCE)), key=key)
        if answer is None or answer.status_code == 409:
            return None
        hold_id = str(answer.json()["holdId"])
        self._log.lines[hold_id] = lines
        self._note(hold_id, answer.json()["status"])
        return hold_id

    async def _decide(self, hold_id: str) -> None:
        await asyncio.sleep(self._dice.uniform(0.0, 0.5))
        rare = "RARE" in self._log.lines[hold_id]
        match self._dice.choices(
            ("commit", "release", "extend and end", "commit and release", "abandon"), (2 if rare else 8, 5, 4, 2, 3)
        )[0]:
            case "commit":
                await self._end(hold_id, "commit")
            case "release":
                await self._end(hold_id, "release")
            case "extend and end":
                await self._extend(hold_id)
                await self._end(hold_id, self._dice.choice(("commit", "release")))
            case "commit and release":
                await asyncio.gather(self._end(hold_id, "commit"), self._end(hold_id, "release"))

    async def _end(self, hold_id: str, verb: str) -> None:
        answer = await self._ask(f"/holds/{self._shop}/{hold_id}/{verb}", None, patience=_PATIENCE)
        if answer is not None:
            self._note(hold_id, answer.json()["status"])

    async def _extend(self, hold_id: str) -> None:
        await self._ask(f"/holds/{self._shop}/{hold_id}/extend", {"ttlSeconds": SHORTEST_LIFE}, patience=1)

    def _note(self, hold_id: str, status: str) -> None:
        if status != "active":
            self._log.ends[hold_id].add(status)

    async def _ask(self, path: str, body: object, *, patience: int, key: str | None = None) -> httpx.Response | None:
        """Repeat the request until its outcome is known; None after `patience` attempts."""
        headers = {"Idempotency-Key": key} if key else {}
        for _ in range(patience):
            try:
                answer = await self._http.post(f"/api/inventory{path}", json=body, headers=headers)
            except httpx.TransportError:
                self._log.answers["none"] += 1
            else:
                self._log.answers[str(answer.status_code)] += 1
                if answer.status_code in (200, 201, 409):
                    return answer
                if answer.status_code not in _UNKNOWN:
                    self._log.unexpected_answers.append(f"{path}: {answer.status_code} {answer.text}")
                    return None
            await asyncio.sleep(self._dice.uniform(0.1, 0.6))
        return None


def dice(*seed: int) -> Random:
    """Return a random generator that is the same for the same seed."""
    return Random("/".join(map(str, seed)))  # noqa: S311 - nothing secret


@asynccontextmanager
async def shopping(http: httpx.AsyncClient, shop: str, seed: int, log: ShopperLog) -> AsyncIterator[None]:
    """Put the stock with an admin's `http` client, and run SHOPPERS shoppers until the block ends."""
    items = [{"sku": sku, "onHand": on_hand} for sku, on_hand in ITEMS.items()]
    answer = await http.put("/api/inventory/items", json={"shopId": shop, "items": items})
    assert answer.status_code == 200, answer.text
    closing = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for number in range(SHOPPERS):
            tasks.create_task(Shopper(http, shop, f"shopper-{number}", dice(seed, number), log).shop(closing))
        yield
        closing.set()
