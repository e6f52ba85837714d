"""Results of checks: one for each thing checked, with the fix of each fault, and a runner that isolates failures."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import groupby

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
    consequence_of: tuple[str, ...] = ()
    """Of a fault: what it may follow from, each as `area: name`. One of those that is a fault too is the cause."""

    @property
    def key(self) -> str:
        """The area and the name."""
        return f"{self.area}: {self.name}"

    def as_json(self) -> dict[str, str | None]:
        """Return it for `--json`."""
        return {name: value for name, value in asdict(self).items() if name != "consequence_of"}


def ok(area: str, name: str, found: str) -> CheckResult:
    """Return a passed check."""
    return CheckResult(area, name, State.OK, found)


def fault(area: str, name: str, found: str, fix: str, consequence_of: Iterable[str] = ()) -> CheckResult:
    """Return a failed check, how to fix it, and the faults (`area: name`) that it may be a consequence of."""
    return CheckResult(area, name, State.FAULT, found, fix, tuple(consequence_of))


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


def causes_only(results: Sequence[CheckResult]) -> list[CheckResult]:
    """Return the results with one fault for each cause: a fault that follows from another one is not applicable."""
    faults = {result.key for result in results if result.state is State.FAULT}
    return [_explained(result, faults) if result.state is State.FAULT else result for result in results]


def _explained(result: CheckResult, faults: Iterable[str]) -> CheckResult:
    cause = next((key for key in result.consequence_of if key in faults), None)
    if cause is None:
        return result
    return not_applicable(result.area, result.name, f"{result.found}; this follows from {cause}")


def has_fault(results: Iterable[CheckResult]) -> bool:
    """Return whether a check failed."""
    return any(result.state is State.FAULT for result in results)


def show(results: Sequence[CheckResult], *, as_json: bool, faults_only: bool = False) -> None:
    """Print the faults with their fixes, then the other results; or all of them as one JSON object.

    `faults_only`: print no other results; the last line counts all of them.
    """
    faults = [result for result in results if result.state is State.FAULT]
    if as_json:
        lines = [result.as_json() for result in (faults if faults_only else results)]
        print(json.dumps({"ok": not faults, "lines": lines}, indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    _show_areas(console, faults)
    if not faults_only:
        _show_areas(console, [result for result in results if result.state is not State.FAULT])
    counts = {state: sum(result.state is state for result in results) for state in State}
    console.print(
        f"\n{counts[State.OK]} ✓, {counts[State.FAULT]} ✗, {counts[State.NOT_APPLICABLE]} not applicable",
        markup=False,
    )


def _show_areas(console: Console, results: Iterable[CheckResult]) -> None:
    """Print the results by area. Those of an area that were found the same, such as "not set", share a line."""
    for area, of_area in groupby(results, lambda result: result.area):
        console.print(Text(area, style="bold"))
        lines: dict[tuple[State, str, str | None], list[str]] = {}
        for result in of_area:
            lines.setdefault((result.state, result.found, result.fix), []).append(result.name)
        for (state, found, fix), names in lines.items():
            console.print(Text(f"  {state.mark} {', '.join(names)}: {found}", style=_STYLES[state]))
            if fix:
                console.print(Text(f"      → {fix}"))
