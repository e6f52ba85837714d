"""The sections on fairness, holds due at once and memory say what was measured."""

import pytest

from bench import due, fairness, memory
from bench.caller import Answers


def answers(*ms: float) -> Answers:
    return Answers(create_ms=list(ms), commit_ms=list(ms))


@pytest.mark.parametrize(("seconds", "slow", "marks"), [(29.0, 30.0, "✓✓"), (31.0, 31.0, "✗✗")])
def test_ends_that_take_too_long_or_slow_checkouts_are_marked(seconds: float, slow: float, marks: str) -> None:
    measured = [due.Due(2000, [(0.0, 2000), (seconds, 0)], quiet=answers(10.0), beside=answers(slow))]
    row = next(line for line in "\n".join(due.lines(measured)).splitlines() if line.startswith("| 2,000 |"))
    assert [mark for mark in row if mark in "✓✗"] == [*marks, "✓"]


def test_fairness_is_the_slowness_of_the_calm_shop_beside_the_rush() -> None:
    result = fairness.Fairness()
    for kind, slow in zip(fairness.KINDS, (20.0, 2000.0), strict=True):
        result.quiet[kind], result.beside[kind], result.rush[kind] = answers(10.0), answers(slow), [30.0]
    rows = [line for line in "\n".join(fairness.lines(result)).splitlines() if "handed out" in line]
    assert ["✓" in row for row in rows] == [True, False]


def test_the_cost_of_a_hold_is_the_growth_of_the_worker() -> None:
    result = memory.MemoryResult(1024, 1024, 100.0, 180.0, 181.0, [20.0], [30.0])
    assert (result.cached_kib, result.cold_kib) == (80.0, 1.0)
    assert "take 1,160 MiB in 2 processes" in "\n".join(memory.lines(result))
