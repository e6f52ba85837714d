"""The page of all results, and what the benches' sections share."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from bench.load import Result

MARKS = {True: "✓", False: "✗"}


def many(clients: int) -> str:
    """Return the number of clients in words."""
    return "1 client" if clients == 1 else f"{clients} clients"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a markdown table; all but its first column are numbers."""
    lines = ["| " + " | ".join(row) + " |" for row in (heads, ["---", *["---:"] * (len(heads) - 1)], *rows)]
    return "\n".join(lines)


def targets(rows: Iterable[tuple[str, str, str, bool]]) -> str:
    """Return the table of targets: what, wanted, measured, and whether it was met."""
    return table(["Target", "wanted", "measured", ""], [(*row, MARKS[met]) for *row, met in rows])


def unexpected(results: Iterable[Result]) -> str:
    """Return a sentence on the answers that nobody expected."""
    errors: Counter[str] = Counter()
    for result in results:
        errors.update(result.errors)
    said = ", ".join(f"{kind}: {number}" for kind, number in errors.items()) or "none"
    return f"Answers other than expected: {said}."


def page(
    sections: Mapping[str, list[str]],
    machine: Sequence[tuple[str, str]],
    command: str,
    seconds: float,
    missing: Sequence[str] = (),
) -> str:
    """Return the page: each bench's section, followed by its plot; then the names of benches that are missing."""
    parts = [
        "# Benchmark results",
        _introduction(command, seconds),
        table(["Machine", ""], machine).replace("---:", "---"),
    ]
    for name, section in sections.items():
        parts += [*section, f"![{name.replace('_', ' ')}](plots/{name}.png)"]
    if missing:
        parts.append(f"Not measured in this run, which was interrupted: {', '.join(missing)}.")
    return "\n\n".join(parts)


def _introduction(command: str, seconds: float) -> str:
    return f"""\
`make bench` ({datetime.now(UTC):%Y-%m-%d %H:%M} UTC, `{command}`, {seconds / 60:.1f} minutes), as it printed it.

Each section is a bench of its own, `python -m bench.NAME`, with a fresh Postgres and a fresh Temporal server, one API
process and one worker process. Everything, the load generator too, shares the machine's cores; the load generator is a
process of its own and its CPU is told apart. What is compared takes turns within one run, so that drift of the machine
affects both. [CLUSTER.md](CLUSTER.md) has the product on Temporal's production server."""
