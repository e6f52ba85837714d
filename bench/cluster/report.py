"""The cluster's results as Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

from bench.cluster.claims import Claim
from bench.cluster.kills import DOWN_SECONDS, Strike
from bench.cluster.throughput import CLIENTS, Figures, Plan, Size
from bench.figures import percentile
from bench.load import Result
from bench.overload import Overload
from bench.overload import lines as overload_lines
from bench.report import MARKS, table

_FULL = 0.9
"""Share of a core or of the machine from which it counts as the limit."""


@dataclass(frozen=True)
class Seen:
    """The results of a run."""

    claims: Sequence[Claim]
    smoke: str
    figures: Figures
    strikes: Sequence[Strike]
    cores: int
    overload: Overload


def render(seen: Seen, plan: Plan, machine: Sequence[tuple[str, str]], command: str, seconds: float) -> str:
    """Return the page."""
    rows = [(claim.text, claim.seen, MARKS[claim.held]) for claim in seen.claims]
    parts = [
        "# The cluster, measured and broken",
        _introduction(plan, command, seconds),
        table(["Machine", ""], machine).replace("---:", "---"),
        "## What must be true",
        table(["", "seen", ""], rows).replace("---:", "---"),
        "## Throughput, and what limits it",
        _throughput(seen.figures, seen.cores),
        "## CPU by process, in ms for each lifecycle",
        _cpu(seen.figures),
        "## Each process: what a core of it would do, and at rest",
        _cores(seen.figures),
        "## What Postgres does",
        _postgres(seen.figures),
        "\n".join(overload_lines(seen.overload)),
        "## Every process killed",
        _kills(seen.strikes),
        "## `holdfast smoke`",
        f"```\n{seen.smoke.rstrip()}\n```",
    ]
    return "\n\n".join(parts)


def _introduction(plan: Plan, command: str, seconds: float) -> str:
    return f"""\
`make cluster` ({datetime.now(UTC):%Y-%m-%d %H:%M} UTC, `{command}`, {seconds / 60:.1f} minutes), as it printed it.

Holdfast on the Temporal server of production, set up by the files of [deploy/temporal](../deploy/temporal): frontend,
history, matching and worker as processes of their own, 512 history shards, persistence and visibility in the Postgres
that has Holdfast's database too; API processes behind one port, worker processes, the Stripe simulator. No containers.
A lifecycle is create, then commit, over HTTP, {CLIENTS} clients; {plan.rounds} turns of {plan.slot:.0f} s for each row,
interleaved, with fresh API and worker processes. Everything, the load generator too, shares the machine's cores.
[RESULTS.md](RESULTS.md) has the same product on Temporal's dev server, which is the first row here."""


def label(size: Size) -> str:
    """Return the label of a row."""
    return f"{size.apis} API, {size.workers} worker" + (", dev server" if size.on_dev_server else "")


def usage(results: Sequence[Result]) -> dict[str, float]:
    """Return how much of a core each process used."""
    seconds = sum(result.seconds for result in results)
    return {name: sum(result.cpu[name] for result in results) / seconds for name in results[0].cpu}


def limit(size: Size, used: Mapping[str, float], cores: int) -> str:
    """Return what limits the throughput, from the CPU of each process."""
    for name, processes in (("worker", size.workers), ("api", size.apis)):
        if used[name] / processes > _FULL:
            return f"each {name} process, at {used[name] / processes:.0%} of a core"
    busy = sum(used.values()) / cores
    if busy > _FULL:
        return f"the machine: {cores} cores, {busy:.0%} in use"
    return f"waiting: of {cores} cores {busy:.0%} in use"


def _throughput(figures: Figures, cores: int) -> str:
    rows = []
    for size, results in figures.turns.items():
        rate = sum(result.done for result in results) / sum(result.seconds for result in results)
        turns = ", ".join(f"{result.done / result.seconds:.0f}" for result in results)
        create, commit = (
            [ms for result in results for ms in result.create_ms],
            [ms for result in results for ms in result.commit_ms],
        )
        latencies = (" / ".join(f"{percentile(samples, p):.0f}" for p in (50, 95)) for samples in (create, commit))
        rows.append([label(size), f"**{rate:.1f}**: {turns}", *latencies, limit(size, usage(results), cores)])
    heads = ["", "lifecycles/s, by turn", "create p50 / p95 ms", "commit p50 / p95 ms", "limited by"]
    return table(heads, rows)


def _milliseconds(results: Sequence[Result]) -> dict[str, float]:
    done = max(sum(result.done for result in results), 1)
    return {name: sum(result.cpu[name] for result in results) / done * 1000 for name in results[0].cpu}


def _cpu(figures: Figures) -> str:
    names = list(dict.fromkeys(name for results in figures.turns.values() for name in results[0].cpu))
    others = {"load": "load generator", "elsewhere": "rest of the machine"}
    names = [name for name in names if name not in others] + ["sum", *others]
    rows = []
    for size, results in figures.turns.items():
        used = _milliseconds(results)
        used["sum"] = sum(ms for name, ms in used.items() if name not in others)
        rows.append([label(size), *(f"{used[name]:.1f}" if name in used else "" for name in names)])
    return table(["", *(others.get(name, name) for name in names)], rows)


def _cores(figures: Figures) -> str:
    results = figures.turns[Size(2, 2)]
    used = _milliseconds(results)
    rows = []
    for name, idle in figures.idle.items():
        most = f"{1000 / used[name]:.0f}" if used[name] >= 1 else "plenty"
        rows.append([name, f"{used[name]:.1f}", most, f"{idle:.1f}", f"{figures.memory[name]:.0f}"])
    heads = ["", "ms a lifecycle", "lifecycles/s for each core of it", "CPU at rest, % of a core", "memory, USS MiB"]
    note = (
        "With 2 API and 2 worker processes. An API or worker process is Python and uses one core at most, the others as"
        " many as there are. At rest, Temporal's services poll for 512 shards."
    )
    return f"{table(heads, rows)}\n\n{note}"


def _postgres(figures: Figures) -> str:
    total = sum(figures.sessions.values()) or 1.0
    shares = ", ".join(
        f"{database} {used / total:.0%}" for database, used in sorted(figures.sessions.items(), key=lambda it: -it[1])
    )
    rows = []
    for size, written in figures.written.items():
        each = (
            median(turn.holdfast for turn in written),
            median(turn.temporal for turn in written),
            median(turn.wal for turn in written) / 1024,
        )
        rows.append([label(size), *(f"{number:.1f}" for number in each)])
    heads = ["for each lifecycle", "transactions of Holdfast", "transactions of Temporal", "KiB of WAL"]
    return f"Its CPU in the cluster's turns, by the database of the session: {shares}.\n\n{table(heads, rows)}"


def _kills(strikes: Sequence[Strike]) -> str:
    rows = []
    for strike in strikes:
        answers = ", ".join(f"{number} x {status}" for status, number in sorted(strike.answers.items()))
        rows.append([strike.target, f"{strike.silence:.1f}", answers])
    note = f"""\
SIGKILL, while shoppers hold, extend, buy, give back and walk away. What nobody else brings back is started again after
{DOWN_SECONDS:.0f} s. `none` is a connection that broke; 202, 429, 503 and 504 are retried."""
    return f"{note}\n\n{table(['killed', 'longest without a new hold, s', 'answers meanwhile'], rows)}"
