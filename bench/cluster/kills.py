"""Kill every process of the cluster in turn (SIGKILL), under load, and check that nothing is lost."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from bench.cluster.topology import Cluster
from core.database import create_engine
from core.temporal import connect
from dev.harness.processes import processes_of
from dev.harness.reconciliation import Reconciliation, reconcile
from dev.harness.shoppers import ShopperLog, shopping
from dev.processes import Child
from dev.service_process import Program

SHOP = "killed"
DOWN_SECONDS = 3.0
"""How long a process without a supervisor stays down."""
_RECOVERY_SECONDS = 60.0
_BACK_TO_NORMAL = 20
"""New holds after a recovery before the next kill."""
_LOOK_SECONDS = 0.01


@dataclass(frozen=True)
class Strike:
    """The result of one kill."""

    target: str
    recovered: bool
    """Whether new holds were created within a minute of its return."""
    silence: float
    """The longest that no new hold was acknowledged, in seconds."""
    answers: Counter[str]
    """Answers to the shoppers meanwhile, by HTTP status; `none` is a broken connection."""


@dataclass(frozen=True)
class Target:
    """A process, and how to kill and restart it."""

    name: str
    kill: Callable[[], None]
    restart: Callable[[], None]


def targets(cluster: Cluster) -> list[Target]:
    """Return every process of the cluster, once each."""

    def program(name: str, it: Program) -> Target:
        def start() -> None:
            it.launch()
            it.wait_until_ready()

        return _without_supervisor(name, it.child, start)

    return [
        _one_of("one of two API processes", cluster.api.child, cluster.api_processes),
        _one_of("one of two worker processes", cluster.worker, cluster.worker_processes),
        program("the API, all of it", cluster.api),
        _without_supervisor("the worker, all of it", cluster.worker, cluster.start_worker),
        *(program(f"Temporal's {name}", service) for name, service in cluster.temporal.services.items()),
        _without_supervisor("Postgres", cluster.postgres.child, cluster.postgres.start),
    ]


def _without_supervisor(name: str, child: Child, start: Callable[[], None]) -> Target:
    """Return a target that is restarted after a while, as a container would be."""

    def restart() -> None:
        time.sleep(DOWN_SECONDS)
        start()

    return Target(name, lambda: child.stop(0), restart)


def _one_of(name: str, supervisor: Child, processes: int) -> Target:
    """Return one of several processes, which its supervisor restarts."""
    killed: set[int] = set()

    def kill() -> None:
        process = processes_of(supervisor)[0]
        killed.add(process.pid)
        process.kill()

    def is_back() -> bool:
        return len({process.pid for process in processes_of(supervisor)} - killed) == processes

    return Target(name, kill, lambda: supervisor.wait_until(is_back, _RECOVERY_SECONDS))


async def kill_each(cluster: Cluster, say: Callable[[str], None]) -> tuple[list[Strike], Reconciliation]:
    """Kill each target in turn while shoppers use the API, then wait until all holds have ended.

    Raises EmbeddedError where a process does not start again.
    """
    log, strikes = ShopperLog(), []
    headers = {"Authorization": f"Bearer {cluster.admin_token}"}
    async with (
        httpx.AsyncClient(base_url=cluster.api_url, headers=headers, timeout=30, trust_env=False) as http,
        shopping(http, SHOP, 1, log),
    ):
        await _more_holds(log)
        for target in targets(cluster):
            strikes.append(await _strike(target, log))
            say(f"killed {target.name}: {strikes[-1].silence:.1f} s without a new hold")
    engine = create_engine(cluster.settings)
    try:
        temporal = await connect(None, environment=cluster.environment)
        return strikes, await reconcile(engine, temporal, SHOP, log)
    finally:
        await engine.dispose()


async def _strike(target: Target, log: ShopperLog) -> Strike:
    before, back = log.answers.copy(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        silence = tasks.create_task(_longest_silence(log, back))
        await asyncio.to_thread(target.kill)
        await asyncio.to_thread(target.restart)
        recovered = await _more_holds(log)
        back.set()
    return Strike(target.name, recovered, silence.result(), log.answers - before)


async def _longest_silence(log: ShopperLog, back: asyncio.Event) -> float:
    known, since, longest = len(log.lines), time.monotonic(), 0.0
    while not back.is_set():
        await asyncio.sleep(_LOOK_SECONDS)
        longest = max(longest, time.monotonic() - since)
        if len(log.lines) > known:
            known, since = len(log.lines), time.monotonic()
    return longest


async def _more_holds(log: ShopperLog) -> bool:
    """Wait for enough new holds, and return whether they were created."""
    wanted, deadline = len(log.lines) + _BACK_TO_NORMAL, time.monotonic() + _RECOVERY_SECONDS
    while len(log.lines) < wanted and time.monotonic() < deadline:  # noqa: ASYNC110 - the log has no event
        await asyncio.sleep(_LOOK_SECONDS)
    return len(log.lines) >= wanted
