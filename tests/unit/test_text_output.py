"""A terminal or pipe whose encoding lacks a character gets ASCII text: no crash, no lost line, and valid JSON."""

import json
import os
import subprocess
import sys

import pytest

_LOG = """
import structlog
from core.logging import configure_logging
configure_logging("text")
try:
    raise ValueError("Größe")
except ValueError:
    structlog.get_logger("holdfast").exception("shop_failed")
"""


def printed(*arguments: str) -> tuple[int, str]:
    """Run Python where only ASCII can be printed; return its exit code and standard output. It prints no error."""
    variables = {**os.environ, "PYTHONIOENCODING": "ascii", "INVENTORY_ADMIN_TOKEN": "a" * 64}
    command = [sys.executable, *arguments]
    ran = subprocess.run(command, env=variables, capture_output=True, timeout=120, check=False)
    assert ran.stderr == b""
    return ran.returncode, ran.stdout.decode("ascii")


def test_a_command_prints_its_signs_as_ascii() -> None:
    code, shown = printed("-m", "cli.main", "smoke", "--url", "http://127.0.0.1:1")
    assert code == 1
    assert "\nx  health" in shown
    assert "The checkout does not work: see x." in shown


@pytest.mark.parametrize("text", ["Größe", "“a”", "😀"])
def test_a_character_that_is_no_sign_of_ours_is_printed_as_the_escape_of_json(text: str) -> None:
    code = f"from core.text_output import allow_every_character; allow_every_character(); print({text!r})"
    assert json.loads(f'"{printed("-c", code)[1].strip()}"') == text


def test_no_line_of_the_log_is_lost_not_even_a_traceback() -> None:
    _, shown = printed("-c", _LOG)
    assert "shop_failed" in shown
    assert "ValueError: Gr\\u00f6\\u00dfe" in shown
