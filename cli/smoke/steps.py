"""What `holdfast smoke` notes: each step with how long it took, and the first that did not go as it should."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field


class SmokeError(Exception):
    """A step did not go as it should. The message says what was asked, what came, and what to do."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `milliseconds` is from the request to what was waited for."""

    name: str
    ok: bool
    milliseconds: float
    found: str


@dataclass(slots=True)
class Notes:
    """What was done so far."""

    steps: list[Step] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    """What could not be checked, and why."""

    @contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Time a step; what the block appends is what is told of it. Its SmokeError is noted and raised again."""
        found: list[str] = []
        began = time.perf_counter()
        try:
            yield found
        except SmokeError as error:
            self.steps.append(Step(name, ok=False, milliseconds=_since(began), found=str(error)))
            raise
        self.steps.append(Step(name, ok=True, milliseconds=_since(began), found="; ".join(found)))

    @property
    def ok(self) -> bool:
        """Whether every step went as it should."""
        return all(step.ok for step in self.steps)

    def as_json(self) -> dict[str, object]:
        """Return it for `--json`."""
        return {"ok": self.ok, "steps": [asdict(step) for step in self.steps], "notChecked": self.said}


def _since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 1)
