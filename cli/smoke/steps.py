"""The result of `holdfast smoke`: each step with its outcome and duration."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from core.error_messages import first_line


class SmokeError(Exception):
    """A step failed. The message names the request, the response and, where known, the fix."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `found` is what was observed, or the error; `milliseconds` is the duration, waiting included."""

    name: str
    ok: bool
    milliseconds: float
    found: str


@dataclass(slots=True)
class SmokeResult:
    """The steps so far, and `not_checked`: what was skipped, with the reason."""

    steps: list[Step] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Record the block as a step; its `found` is what the block appends. Records and re-raises SmokeError.

        An answer without an expected field, or with one of another type, becomes one.
        """
        found: list[str] = []
        start = time.perf_counter()
        try:
            yield found
        except SmokeError as error:
            self._add(name, start, str(error), ok=False)
            raise
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            problem = f"the API answered something else: {type(error).__name__} {first_line(error)}"
            self._add(name, start, problem, ok=False)
            raise SmokeError(problem) from error
        self._add(name, start, "; ".join(found), ok=True)

    def _add(self, name: str, start: float, found: str, *, ok: bool) -> None:
        milliseconds = round((time.perf_counter() - start) * 1000, 1)
        self.steps.append(Step(name, ok, milliseconds, found))

    @property
    def ok(self) -> bool:
        """Whether every step succeeded."""
        return all(step.ok for step in self.steps)

    def as_json(self) -> dict[str, object]:
        """Return the object that `--json` prints."""
        return {"ok": self.ok, "steps": [asdict(step) for step in self.steps], "notChecked": self.not_checked}
