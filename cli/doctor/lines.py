"""What the doctor says: a line for each thing looked at, and a check that always comes to its lines."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from rich.console import Console
from rich.text import Text

CHECK_SECONDS = 10.0
"""How long one check may take. They run side by side, so the whole takes little longer."""


class State(StrEnum):
    """How a line stands."""

    OK = "ok"
    FAULT = "fault"
    NOT_APPLICABLE = "not_applicable"

    @property
    def mark(self) -> str:
        """The sign before the line."""
        return {"ok": "✓", "fault": "✗", "not_applicable": "\N{EN DASH}"}[self]


_STYLES = {State.OK: "green", State.FAULT: "bold red", State.NOT_APPLICABLE: "dim"}


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at. A fault has its fix."""

    area: str
    name: str
    state: State
    found: str
    fix: str | None = None

    def as_json(self) -> dict[str, str | None]:
        """Return it for `--json`."""
        return asdict(self)


def ok(area: str, name: str, found: str) -> Line:
    """Return a line of what is as it should be."""
    return Line(area, name, State.OK, found)


def fault(area: str, name: str, found: str, fix: str) -> Line:
    """Return a line of what is not as it should be, with what to do."""
    return Line(area, name, State.FAULT, found, fix)


def not_applicable(area: str, name: str, why: str) -> Line:
    """Return a line of what there is nothing to say about, with the reason."""
    return Line(area, name, State.NOT_APPLICABLE, why)


@dataclass(frozen=True, slots=True)
class Check:
    """Some lines that come from one look."""

    area: str
    name: str
    look: Callable[[], Awaitable[Iterable[Line]]]


async def carried_out(checks: Sequence[Check], seconds: float = CHECK_SECONDS) -> list[Line]:
    """Carry out all checks side by side and return their lines in the checks' order.

    One that takes too long or breaks is a fault of its own and hides no other.
    """
    answers = await asyncio.gather(*(_carried_out(check, seconds) for check in checks))
    return [line for lines in answers for line in lines]


async def _carried_out(check: Check, seconds: float) -> list[Line]:
    try:
        async with asyncio.timeout(seconds):
            return list(await check.look())
    except TimeoutError:
        return [fault(check.area, check.name, f"no answer in {seconds:g} s", "see whether the server is overloaded")]
    except Exception as error:  # noqa: BLE001 - whatever it is, the other lines are wanted too
        return [fault(check.area, check.name, f"could not be looked at: {first_line(error)}", "see the message")]


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its name where it has none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def show(lines: Sequence[Line]) -> None:
    """Print the lines for people, by area, with the fix below each fault."""
    console = Console(highlight=False, soft_wrap=True)
    area = ""
    for line in lines:
        if line.area != area:
            area = line.area
            console.print(Text(area, style="bold"))
        console.print(Text(f"  {line.state.mark} {line.name}: {line.found}", style=_STYLES[line.state]))
        if line.fix:
            console.print(Text(f"      → {line.fix}"))
    counts = {state: sum(line.state is state for line in lines) for state in State}
    console.print(
        f"\n{counts[State.OK]} ✓, {counts[State.FAULT]} ✗, {counts[State.NOT_APPLICABLE]} not applicable",
        markup=False,
    )
