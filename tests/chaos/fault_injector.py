"""Kills or freezes parts of a running house at random, one or two at a time, and brings them back after a while."""

import asyncio
from collections.abc import Callable
from random import Random

from dev.harness.processes import processes_of
from dev.processes import Child
from tests.e2e.deployment import freeze, kill, kill_alone
from tests.e2e.house import House

# In the order in which they are brought back: who needs another comes after it.
PARTS = ("Postgres", "Temporal", "the API", "the worker", "the worker's supervisor", "a worker process")
WORKER_PROCESSES = 2
_LONGEST_DEATH = 3.0
_LONGEST_FREEZE = 12.0
"""Longer than a workflow task may take (10 s): a worker wakes up with work that was given to another."""


class Saboteur:
    """Strikes at the house; what it does follows from the dice alone."""

    def __init__(self, house: House, dice: Random, say: Callable[[str], None]) -> None:
        self._house = house
        self._dice = dice
        self._say = say

    async def play(self, rounds: int) -> None:
        """Strike as many times, and return with everything running."""
        for number in range(1, rounds + 1):
            await asyncio.sleep(self._dice.uniform(0.5, 3.0))
            struck = sorted(self._dice.sample(PARTS, self._dice.choice((1, 1, 2))), key=PARTS.index)
            if self._dice.random() < 0.3:
                await self._freeze(number, struck[0], self._dice.uniform(0.5, _LONGEST_FREEZE))
            else:
                await self._kill(number, struck, self._dice.uniform(0.0, _LONGEST_DEATH))

    async def _freeze(self, number: int, part: str, seconds: float) -> None:
        self._say(f"  round {number}: froze {part} for {seconds:.1f} s")
        process = self._child(part).pid
        if part == "a worker process":  # the others take over what it has begun, and then it wakes up
            process = next((one.pid for one in processes_of(self._house.worker)), process)
        thaw = freeze(process)
        await asyncio.sleep(seconds)
        thaw()

    async def _kill(self, number: int, parts: list[str], seconds: float) -> None:
        self._say(f"  round {number}: killed {' and '.join(parts)} for {seconds:.1f} s")
        for part in parts:
            match part:
                case "the worker's supervisor":
                    kill_alone(self._house.worker)
                case "a worker process":
                    for process in processes_of(self._house.worker)[:1]:
                        process.kill()  # its supervisor brings it back
                case _:
                    kill(self._child(part))
        await asyncio.sleep(seconds)
        for part in parts:
            await self._bring_back(part)

    def _child(self, part: str) -> Child:
        house = self._house
        match part:
            case "Postgres":
                return house.postgres.child
            case "Temporal":
                return house.temporal.child
            case "the API":
                return house.deployment.api
            case _:
                return house.worker

    async def _bring_back(self, part: str) -> None:
        house = self._house
        match part:
            case "Postgres":
                await asyncio.to_thread(house.postgres.start)
            case "Temporal":
                await asyncio.to_thread(house.temporal.start)
            case "the API":
                await house.deployment.start_api()
            case _ if not house.worker.alive:
                house.worker = await house.deployment.start_worker(processes=WORKER_PROCESSES)
