"""The deployment checklist has every line of the one it comes from, each with what answers it, and no line besides."""

import re
from pathlib import Path

import pytest

from core.settings import Settings

ROOT = Path(__file__).parents[2]
_CODE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_MARK = re.compile(r"^\s*(?:- \[ \] |- |\d\. )")
_ANSWER = re.compile(r"`[^`]+`|\]\([^)]+\)|____")
"""What an answer has: a command, a name or a page; or a blank for what only the operator knows."""

SOURCE = (ROOT / "tests" / "inventory-deployment-checklist.md").read_text().partition("\n# ")[2]
OURS, _, BECAME = (ROOT / "docs" / "deployment-checklist.md").read_text().removeprefix("# ").partition("## Appendix: ")


def prose(text: str) -> list[str]:
    """Return the lines that are no code, without the marks of their lists; of a link its words."""
    lines = (_MARK.sub("", line).strip() for line in _CODE.sub("", text).splitlines())
    return [re.sub(r"^\[(.*?)\]\(.*\)$", r"\1", line) for line in lines if line and line != "---"]


def code(text: str) -> list[str]:
    """Return the lines of code, without what a comment says beside them."""
    lines = (line.partition("  #")[0].strip() for _, block in _CODE.findall(text) for line in block.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def answered() -> list[tuple[str, str]]:
    """Return our lines with their answers; a heading has none. A block below a line belongs to its answer."""
    lines = _CODE.sub("```", OURS).splitlines()
    found: list[tuple[str, str]] = []
    for line in filter(None, (_MARK.sub("", line).strip() for line in lines)):
        words, arrow, answer = line.partition(" →")
        if arrow:
            found.append((words, answer))
        elif line == "```" and found:
            found[-1] = (found[-1][0], f"{found[-1][1]} `a block`")
        elif line.startswith("#") or not found:
            found.append((line, ""))
    return found


def test_the_lines_are_those_of_the_source_in_their_order() -> None:
    assert [words for words, _ in answered()] == prose(SOURCE)


@pytest.mark.parametrize(("words", "answer"), [line for line in answered()[1:] if not line[0].startswith("#")])
def test_each_line_is_answered_by_a_command_a_name_or_a_page(words: str, answer: str) -> None:
    assert _ANSWER.search(answer), f"{words} →{answer}"


def test_each_command_of_the_source_is_there_or_is_said_what_became_of_it() -> None:
    became = [row.replace("\\|", "|") for row in re.findall(r"^\| `(.*?)` \| ", BECAME, re.MULTILINE)]
    assert became == list(dict.fromkeys(line for line in code(SOURCE) if line not in code(OURS)))


@pytest.mark.parametrize("block", [block for language, block in _CODE.findall(OURS) if language == "env"])
def test_the_settings_are_ones_that_holdfast_takes(block: str) -> None:
    given = dict(line.strip().split("=", 1) for line in block.strip().splitlines())
    settings = Settings.read({"DATABASE_URL": "postgresql://localhost/holdfast", **given})
    assert settings.mode == given.get("INVENTORY_MODE", "validate_only")
