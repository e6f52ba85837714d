"""Throughput and CPU of the cluster with one and two processes of API and worker."""

import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import psutil
import psycopg

from bench.cluster.topology import Cluster
from bench.load import Job, Result
from bench.stack import Load
from bench.usage import cpu_seconds, memory

CLIENTS = 16


@dataclass(frozen=True)
class Size:
    """Processes of API and worker, and whether they are on Temporal's dev server instead of the cluster."""

    apis: int
    workers: int
    on_dev_server: bool = False


SIZES = (Size(1, 1, on_dev_server=True), Size(1, 1), Size(2, 1), Size(1, 2), Size(2, 2))


@dataclass(frozen=True)
class Plan:
    """Durations in seconds, and rounds."""

    warm_up: float = 1.5
    slot: float = 5.0
    rounds: int = 3
    idle: float = 10.0


QUICK = Plan(warm_up=0.5, slot=1.5, rounds=1, idle=2.0)


@dataclass(frozen=True)
class Written:
    """What Postgres wrote, in total or per lifecycle."""

    holdfast: float
    """Transactions of Holdfast's database."""
    temporal: float
    """Transactions of Temporal's two."""
    wal: float
    """Bytes of write-ahead log."""


@dataclass
class Figures:
    """The measurements."""

    turns: dict[Size, list[Result]] = field(default_factory=lambda: defaultdict(list))
    """A result's CPU is by process."""
    written: dict[Size, list[Written]] = field(default_factory=lambda: defaultdict(list))
    """For each lifecycle, by turn."""
    sessions: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """CPU seconds of Postgres in the cluster's turns, by the database that a session is of."""
    idle: dict[str, float] = field(default_factory=dict)
    """Percent of a core by process, without load."""
    memory: dict[str, float] = field(default_factory=dict)
    """Unique memory in MiB after the load."""


def measure(cluster: Cluster, load: Load, plan: Plan) -> Figures:
    """Measure every size in alternating order, so that drift of the machine affects all."""
    figures = Figures()
    for number in range(plan.rounds):
        for size in SIZES if number % 2 == 0 else reversed(SIZES):
            cluster.serve(apis=size.apis, workers=size.workers, on_dev_server=size.on_dev_server)
            _turn(cluster, load, plan, size, figures)
    cluster.serve(apis=2, workers=2)
    time.sleep(1)
    figures.idle = _idle(cluster, plan.idle)
    figures.memory = {name: memory(pid).unique for name, pid in cluster.pids().items()}
    return figures


def _turn(cluster: Cluster, load: Load, plan: Plan, size: Size, figures: Figures) -> None:
    sessions, written, began = _sessions(cluster), _written(cluster), time.perf_counter()
    job = Job(
        "product", cluster.api_port, cluster.authority_token, CLIENTS, plan.warm_up, plan.slot, pids=cluster.pids()
    )
    result = load.run(job)
    figures.turns[size].append(result)
    lifecycles = (time.perf_counter() - began) * max(result.done, 1) / result.seconds
    after = _written(cluster)
    figures.written[size].append(
        Written(
            holdfast=(after.holdfast - written.holdfast) / lifecycles,
            temporal=(after.temporal - written.temporal) / lifecycles,
            wal=(after.wal - written.wal) / lifecycles,
        )
    )
    if not size.on_dev_server:
        for (pid, database), used in _sessions(cluster).items():
            figures.sessions[database] += used - sessions.get((pid, database), 0.0)


def _sessions(cluster: Cluster) -> Mapping[tuple[int, str], float]:
    """Return the CPU seconds of each process of Postgres until now, with the database that it is for."""
    used = {}
    for process in psutil.Process(cluster.postgres.pid).children():
        with suppress(psutil.NoSuchProcess):
            used[process.pid, database_of(" ".join(process.cmdline()))] = cpu_seconds(process.pid)
    return used


def database_of(title: str) -> str:
    """Return the database of a Postgres process from its title, or `its own processes`."""
    match title.removeprefix("postgres: ").split():
        case [_, database, client, *_] if client.endswith(")"):
            return database
        case _:
            return "its own processes"


_WRITTEN = """
SELECT sum(xact_commit) FILTER (WHERE datname = 'holdfast'), sum(xact_commit) FILTER (WHERE datname LIKE 'temporal%'),
       pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')
FROM pg_stat_database
"""


def _written(cluster: Cluster) -> Written:
    with psycopg.connect(cluster.postgres.url) as connection:
        row = connection.execute(_WRITTEN).fetchone()
    assert row is not None
    return Written(*map(float, row))


def _idle(cluster: Cluster, seconds: float) -> dict[str, float]:
    before = {name: cpu_seconds(pid) for name, pid in cluster.pids().items()}
    time.sleep(seconds)
    return {name: (cpu_seconds(pid) - before[name]) / seconds * 100 for name, pid in cluster.pids().items()}
