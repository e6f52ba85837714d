"""Results of checks: one for each thing checked, with the fix of each fault, and a runner that isolates failures."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from rich.console import Console
from rich.text import Text

from core.error_messages import first_line

CHECK_SECONDS = 10.0
"""The time limit of one check. Checks run concurrently."""


class State(StrEnum):
    """The state of a result. `not_applicable`: nothing to check, or a check that this one depends on failed."""

    OK = "ok"
    FAULT = "fault"
    NOT_APPLICABLE = "not_applicable"

    @property
    def mark(self) -> str:
        """The sign printed before the result."""
        return {"ok": "✓", "fault": "✗", "not_applicable": "\N{EN DASH}"}[self]


_STYLES = {State.OK: "green", State.FAULT: "bold red", State.NOT_APPLICABLE: "dim"}


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of checking one thing. Only a fault has a fix."""

    area: str
    name: str
    state: State
    found: str
    fix: str | None = None

    def as_json(self) -> dict[str, str | None]:
        """Return it for `--json`."""
        return asdict(self)


def ok(area: str, name: str, found: str) -> CheckResult:
    """Return a passed check."""
    return CheckResult(area, name, State.OK, found)


def fault(area: str, name: str, found: str, fix: str) -> CheckResult:
    """Return a failed check and how to fix it."""
    return CheckResult(area, name, State.FAULT, found, fix)


def not_applicable(area: str, name: str, why: str) -> CheckResult:
    """Return a skipped check and the reason."""
    return CheckResult(area, name, State.NOT_APPLICABLE, why)


@dataclass(frozen=True, slots=True)
class Check:
    """A check that yields one or more results."""

    area: str
    name: str
    run: Callable[[], Awaitable[Iterable[CheckResult]]]


async def run_checks(checks: Sequence[Check], seconds: float = CHECK_SECONDS) -> list[CheckResult]:
    """Run all checks concurrently and return their results in the order of the checks.

    A check that times out or raises becomes a fault, and the other checks are not affected.
    """
    results = await asyncio.gather(*(_run_check(check, seconds) for check in checks))
    return [result for of_check in results for result in of_check]


async def _run_check(check: Check, seconds: float) -> list[CheckResult]:
    try:
        async with asyncio.timeout(seconds):
            return list(await check.run())
    except TimeoutError:
        return [fault(check.area, check.name, f"no answer in {seconds:g} s", "check whether the server is overloaded")]
    except Exception as error:  # noqa: BLE001 - whatever it is, the other results are wanted too
        return [fault(check.area, check.name, f"the check failed: {first_line(error)}", "see the message")]


def has_fault(results: Iterable[CheckResult]) -> bool:
    """Return whether a check failed."""
    return any(result.state is State.FAULT for result in results)


def show(results: Sequence[CheckResult], *, as_json: bool) -> None:
    """Print the results by area with the fix below each fault, or as one JSON object."""
    if as_json:
        lines = [result.as_json() for result in results]
        print(json.dumps({"ok": not has_fault(results), "lines": lines}, indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    area = ""
    for result in results:
        if result.area != area:
            area = result.area
            console.print(Text(area, style="bold"))
        console.print(Text(f"  {result.state.mark} {result.name}: {result.found}", style=_STYLES[result.state]))
        if result.fix:
            console.print(Text(f"      → {result.fix}"))
    counts = {state: sum(result.state is state for result in results) for state in State}
    console.print(
        f"\n{counts[State.OK]} ✓, {counts[State.FAULT]} ✗, {counts[State.NOT_APPLICABLE]} not applicable",
        markup=False,
    )
