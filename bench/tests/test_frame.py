"""Every listed bench has what the frame calls, and the page has every section with its plot."""

from importlib import import_module

import pytest

from bench.__main__ import BENCHES
from bench.report import page, targets


@pytest.mark.parametrize("name", BENCHES)
def test_a_listed_bench_measures_tells_and_draws(name: str) -> None:
    bench = import_module(f"bench.{name}")
    assert all(callable(getattr(bench, part)) for part in ("measure", "lines", "plot"))


def test_the_page_has_each_section_followed_by_its_plot() -> None:
    sections = {"some_bench": ["## One", "text"], "other": ["## Two"]}
    text = page(sections, [("CPU", "a fast one")], "python -m bench", seconds=90)
    assert text.endswith("## One\n\ntext\n\n![some bench](plots/some_bench.png)\n\n## Two\n\n![other](plots/other.png)")
    assert "1.5 minutes" in text


def test_the_page_of_an_interrupted_run_says_what_is_missing() -> None:
    text = page({"some_bench": ["## One"]}, [], "python -m bench", seconds=90, missing=["other", "third"])
    assert text.endswith("interrupted: other, third.")


def test_a_target_that_was_missed_is_marked() -> None:
    met, missed = targets([("rate", "≥ 1", "2", True), ("errors", "0", "3", False)]).splitlines()[2:]
    assert met.endswith("| ✓ |")
    assert missed.endswith("| ✗ |")
