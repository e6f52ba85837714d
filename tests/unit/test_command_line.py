"""The command line as a whole: which commands there are, and that its help starts light."""

import re
import subprocess
import sys

import pytest
from typer.core import TyperGroup
from typer.testing import CliRunner

from cli.main import COMMANDS, app
from core.release import commit, release

HEAVY = {
    "aiosmtplib", "alembic", "fastapi", "httpx", "opentelemetry", "psycopg", "rich", "sqlalchemy", "stripe",
    "temporalio", "uvicorn",
}  # fmt: skip


def paths() -> list[tuple[str, ...]]:
    """Return the words of every command, without groups."""
    found: list[tuple[str, ...]] = []
    for command in COMMANDS:
        if isinstance(command, TyperGroup):
            found += [(str(command.name), name) for name in command.commands]
        else:
            found.append((str(command.name),))
    return found


@pytest.mark.parametrize("arguments", [("--help",), ("stock", "--help"), ("no-such-command",)])
def test_help_and_usage_errors_import_no_large_library(arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "cli.main", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    imported = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines() if line.startswith("import time:")}
    assert "typer.main" in imported, ran.stderr
    assert {name.partition(".")[0] for name in imported} & HEAVY == set()


def test_the_version_is_printed_with_the_commit_that_is_checked_out() -> None:
    ran = CliRunner().invoke(app, ["--version"])
    assert (ran.exit_code, ran.stdout) == (0, f"holdfast {release()} (commit {commit() or 'unknown'})\n")
    assert re.fullmatch(r"[0-9a-f]{40}", commit() or "0" * 40)  # unknown where the sources are no checkout


def test_the_commands_are_those_of_the_documented_contract() -> None:
    assert {" ".join(words) for words in paths()} == {
        "migrate", "audit", "doctor", "smoke", "report", "api", "up", "env",
        "stock show", "stock set", "stock adjust", "stock import", "stock export", "stock timeline",
        "holds list", "holds show", "holds commit", "holds release", "holds extend", "holds amend", "holds archive",
        "orders show", "orders resend", "payments reconcile",
        "alerts test",
    }  # fmt: skip


@pytest.mark.parametrize("words", paths(), ids=" ".join)
def test_every_command_has_its_own_help(words: tuple[str, ...]) -> None:
    ran = CliRunner().invoke(app, [*words, "--help"])
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert ran.stdout.split()[2 : 2 + len(words)] == list(words)
