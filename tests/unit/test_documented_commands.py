"""Each `holdfast` command of each page is one that the command line takes."""

import re
import shlex
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from cli.main import app
from tests.documents import documents

_INLINE = re.compile(r"`(?:[^`\n]*[ (])?(holdfast [a-z][^`\n]*)`")
_BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_IN_A_BLOCK = re.compile(r"^ *(?:docker compose run --rm api |\w+=\$\()?(holdfast [a-z][^\n]*)", re.MULTILINE)
_REST_OF_THE_SHELL = re.compile(r"\)\"?$| [|>].*$")
_SYNOPSIS = re.compile(r"…|\w\|\w|--(shop|name)$")
"""Names a group of commands, or one option."""
_BRACKETS = str.maketrans("", "", "[]")
_VALUES = {"MOMENT": "2026-11-22T03:00:00Z", "$MOMENT": "2026-11-22T03:00:00Z", "N": "2"}
"""For names whose value is not just any text."""


def commands() -> list[str]:
    """Return each command once, as its page has it."""
    found: dict[str, None] = {}
    for page in documents():
        if page.name == "CHANGELOG.md":  # it also has what is gone
            continue
        text = page.read_text()
        found |= dict.fromkeys(_INLINE.findall(_BLOCK.sub("", text)))
        for block in _BLOCK.findall(text):
            found |= dict.fromkeys(_IN_A_BLOCK.findall(block))
    return [each for each in found if not _SYNOPSIS.search(each)]


def parse(words: list[str]) -> None:
    """Take the words as the command line does, but run nothing. Raises typer's usage errors."""
    command: Any = typer.main.get_command(app)
    while isinstance(command, TyperGroup):
        if not words:
            return
        name, command = words[0], command.commands.get(words[0])
        assert command, f"no command {name}"
        words = words[1:]
    if words:  # without any, a page only names the command
        command.make_context(command.name, words)


@pytest.mark.parametrize("command", commands())
def test_a_command_of_a_page_is_taken(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_SHOP", "demo")
    words = shlex.split(_REST_OF_THE_SHELL.sub("", command).translate(_BRACKETS), comments=True)
    parse([_VALUES.get(word, word) for word in words[1:]])


def test_those_of_the_pages_are_found() -> None:
    assert {"holdfast smoke", "holdfast stock timeline SKU --shop SHOP"} <= set(commands())
