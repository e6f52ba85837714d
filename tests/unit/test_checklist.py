"""The deployment checklist has every line of the one it comes from, each with an answer."""

import re
from pathlib import Path

import pytest

from inventory.settings import Settings

ROOT = Path(__file__).parents[2]
SOURCE = (ROOT / "tests" / "inventory-deployment-checklist.md").read_text()
OURS = (ROOT / "docs" / "deployment-checklist.md").read_text()
_LINE = re.compile(r"^\s*(?:- \[ \]|\d\.|-|\*\*Symptoms:\*\*) (.+)$")


def outside_of_code(text: str) -> list[str]:
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE).splitlines()


def items() -> list[str]:
    """Return what the source asks for, line by line; a link by its words."""
    lines = [match[1] for line in outside_of_code(SOURCE) if (match := _LINE.match(line))]
    return [re.sub(r"^\[(.*?)\]\(.*\)$", r"\1", line) for line in lines]


def test_every_line_of_the_source_is_there_in_its_order_with_an_answer() -> None:
    lines = OURS.splitlines()
    answered = []
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        words, arrow, answer = line.partition(" →")
        if arrow and (answer.strip() or after.strip().startswith("```")):
            answered.append(re.sub(r"^\s*(?:- \[ \]|\d\.|- \*\*Symptoms:\*\*|-) ", "", words))
    assert answered == items()
    assert len(answered) > 200


def test_every_heading_of_the_source_is_there() -> None:
    source = [line for line in outside_of_code(SOURCE) if line.startswith(("## ", "### "))]
    assert [line for line in outside_of_code(OURS) if line.startswith(("## ", "### "))] == source


def test_every_statement_of_the_source_is_there_but_the_update_by_hand() -> None:
    for sql in re.findall(r"```sql\n(.*?)```", SOURCE, re.DOTALL):
        for line in filter(None, map(str.strip, sql.splitlines())):
            assert line in OURS or "UPDATE" in sql, line


@pytest.mark.parametrize("block", re.findall(r"```env\n(.*?)```", OURS, re.DOTALL))
def test_the_settings_are_ones_that_holdfast_takes(block: str) -> None:
    given = dict(line.strip().split("=", 1) for line in block.strip().splitlines())
    settings = Settings.read({"DATABASE_URL": "postgresql://localhost/holdfast", **given})
    assert settings.mode == given.get("INVENTORY_MODE", "validate_only")
