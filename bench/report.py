"""The results as Markdown."""

from collections.abc import Sequence
from datetime import UTC, datetime

from bench.figures import PROCESSES, cpu_per_lifecycle, latencies, percentile, rate, ratio, ratios
from bench.measure import HOT_CONNECTIONS, Figures, Plan

MARKS = {True: "✓", False: "✗"}
_KIND = {"product": "Holdfast", "floor": "floor"}


def _many(clients: int) -> str:
    return "1 client" if clients == 1 else f"{clients} clients"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a markdown table; all but its first column are numbers."""
    lines = ["| " + " | ".join(row) + " |" for row in (heads, ["---", *["---:"] * (len(heads) - 1)], *rows)]
    return "\n".join(lines)


def render(figures: Figures, plan: Plan, machine: Sequence[tuple[str, str]], command: str, seconds: float) -> str:
    """Return the page."""
    parts = [
        "# Benchmark results",
        _introduction(plan, command, seconds),
        table(["Machine", ""], machine).replace("---:", "---"),
        "## Targets",
        _targets(figures),
        "## Lifecycles: create, then commit, over HTTP",
        _lifecycles(figures),
        "## CPU per lifecycle, in ms",
        _cpu(figures),
        "![Holdfast and the floor](results.png)",
        "## Validate, and a hot row",
        _statements(figures),
        "## Memory and idle CPU",
        _memory(figures, plan),
        "## Did it count right?",
        _errors(figures),
    ]
    return "\n\n".join(parts)


def _introduction(plan: Plan, command: str, seconds: float) -> str:
    return f"""\
`make bench` ({datetime.now(UTC):%Y-%m-%d %H:%M} UTC, `{command}`, {seconds / 60:.1f} minutes), as it printed it.

The floor is an empty workflow behind the same kind of app: FastAPI under uvicorn, create = one update-with-start,
commit = one update that ends the run, a durable timer, no stock, no SQL, no activity, no token; its processes have the
options of Holdfast's. One API process and one worker process each; both use one Temporal server and take turns
(product, floor, floor, product, ...), {plan.rounds} turns each of {plan.slot:.0f} s after {plan.warm_up:.1f} s that are
not counted. A hold has one line; the lines are spread over 1,000 items. Everything, the load generator too, shares the
machine's cores; the load generator is a process of its own and its CPU is told apart. [CLUSTER.md](CLUSTER.md) has the
product on Temporal's production server."""


def _targets(figures: Figures) -> str:
    rows = []
    for clients in figures.lifecycles:
        value = ratio(figures, clients)
        rows.append((f"lifecycles/s of the floor's, {_many(clients)}", "≥ 0.70", f"{value:.2f}", MARKS[value >= 0.7]))
    for clients in (1, 16):
        product, floor = (percentile(latencies(figures, clients, name, "create_ms"), 95) for name in _KIND)
        value = product / floor
        said = f"{value:.2f}x ({product:.1f} / {floor:.1f} ms)"
        rows.append((f"create p95 of the floor's, {_many(clients)}", "≤ 1.50x", said, MARKS[value <= 1.5]))
    p95 = percentile([ms for result in figures.validations for ms in result.create_ms], 95)
    rows.append(("validate p95, 16 clients", "< 10 ms", f"{p95:.1f} ms", MARKS[p95 < 10]))
    return table(["Target", "wanted", "measured", ""], rows)


def _lifecycles(figures: Figures) -> str:
    rows = []
    for clients in figures.lifecycles:
        for name, label in _KIND.items():
            row = [f"{_many(clients)}, {label}", f"{rate(figures, clients, name):.1f}"]
            for kind in ("create_ms", "commit_ms"):
                samples = latencies(figures, clients, name, kind)
                row.append(" / ".join(f"{percentile(samples, p):.1f}" for p in (50, 95, 99)))
            row.append(str(len(latencies(figures, clients, name, "create_ms"))))
            rows.append(row)
        turns = ", ".join(f"{value:.2f}" for value in ratios(figures, clients))
        rows.append([f"{_many(clients)}, ratio", f"**{ratio(figures, clients):.2f}**", f"by turn: {turns}", "", ""])
    heads = ["", "lifecycles/s", "create p50 / p95 / p99 ms", "commit p50 / p95 / p99 ms", "samples"]
    return table(heads, rows)


def _cpu(figures: Figures) -> str:
    rows = []
    for clients in figures.lifecycles:
        for name, label in _KIND.items():
            used = cpu_per_lifecycle(figures, clients, name)
            total = sum(used[process] for process in PROCESSES)
            cells = [*(used[process] for process in PROCESSES), total, used["load"], used["elsewhere"]]
            rows.append([f"{_many(clients)}, {label}", *(f"{cell:.2f}" for cell in cells)])
    heads = ["", *PROCESSES, "sum", "load generator", "rest of the machine"]
    return table(heads, rows)


def _statements(figures: Figures) -> str:
    samples = [ms for result in figures.validations for ms in result.create_ms]
    per_second = sum(r.done for r in figures.validations) / sum(r.seconds for r in figures.validations)
    p50, p95, p99 = (percentile(samples, p) for p in (50, 95, 99))
    hot, bare = (sum(values) / len(values) for values in (figures.hot["reserve"], figures.hot["bare"]))
    rows = [
        ("validations/s, 16 clients, one line, over HTTP", f"{per_second:.0f}"),
        ("validate p50 / p95 / p99 ms", f"{p50:.1f} / {p95:.1f} / {p99:.1f}"),
        (f"`inventory.reserve.reserve` on one row, {HOT_CONNECTIONS} connections, a second", f"{hot:.0f}"),
        ("the bare statement on one row, as many connections, a second", f"{bare:.0f}"),
        ("reserve of the bare statement's rate", f"{hot / bare:.2f}"),
    ]
    note = (
        "The bare statement is one `UPDATE ... SET quantity = quantity - 1, held = held + 1 WHERE <key> AND"
        " quantity >= 1 RETURNING quantity`: no hold, no line, nothing to repeat by. Both go through the same engine,"
        " in turns, without HTTP and without Temporal, in one Python process."
    )
    return f"{table(['', 'measured'], rows)}\n\n{note}"


def _memory(figures: Figures, plan: Plan) -> str:
    rows = []
    for name in PROCESSES:
        rest, later = figures.memory_at_rest[name], figures.memory_open[name]
        cells = [f"{m.resident:.0f} / {m.unique:.0f}" for m in (rest, later)]
        cells += [f"{idle[name]:.1f}" for idle in (figures.idle_at_rest, figures.idle_open)]
        grown = (later.unique - rest.unique) * 1024 / max(figures.opened.done, 1)
        rows.append([name, *cells, f"{grown:.1f}"])
    heads = ["", "at rest, RSS / USS MiB", f"{plan.open_holds:,} open holds, RSS / USS MiB"]
    heads += ["CPU at rest, % of a core", "CPU with the holds, % of a core", "USS a hold, KiB"]
    pace = figures.opened.done / figures.opened.seconds
    note = f"The holds were made at 16 clients, {pace:.0f} a second. The CPU with them is over {plan.idle:.0f} s."
    return f"{table(heads, rows)}\n\n{note}"


def _errors(figures: Figures) -> str:
    every = [result for by_name in figures.lifecycles.values() for results in by_name.values() for result in results]
    errors: dict[str, int] = {}
    for result in [*every, *figures.validations, figures.opened]:
        for kind, number in result.errors.items():
            errors[kind] = errors.get(kind, 0) + number
    said = ", ".join(f"{kind}: {number}" for kind, number in errors.items()) or "none"
    return (
        f"Answers other than expected: {said}. Items whose stock does not add up: {figures.items_that_do_not_add_up}."
    )
