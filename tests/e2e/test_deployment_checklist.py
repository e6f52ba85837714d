"""Every command of the deployment checklist, run as it stands against a running stack."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from cli.embedded import postgres_binaries
from cli.main import app
from tests.e2e.up import Up

pytestmark = pytest.mark.timeout(240)

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "deployment-checklist.md", *(ROOT / "docs" / "runbooks").glob("*.md")]
PREAMBLE, *BLOCKS = (
    textwrap.dedent(block)
    for block in re.findall(r"^ *```sh\n(.*?)^ *```", PAGES[0].read_text(), re.DOTALL | re.MULTILINE)
)
COMMANDS = set(typer.main.get_group(app).commands)
_TO_COME = {"doctor", "smoke", "report", "audit", "holds", "alerts"}
"""Commands that the page names and that this tree may not have yet: as soon as it has one, it is run."""


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    with tempfile.TemporaryDirectory() as folder:
        one = Up(Path(folder) / "home").start()
        yield one
        one.end()


def environment(up: Up) -> dict[str, str]:
    stack = up.stack
    return {
        **up.environment,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), str(postgres_binaries()), os.environ["PATH"]]),
        "HOLDFAST_URL": stack["apiUrl"],
        "INVENTORY_AUTHORITY_URL": stack["apiUrl"],
        "INVENTORY_AUTHORITY_TOKEN": stack["authorityToken"],
        "INVENTORY_ADMIN_TOKEN": stack["adminToken"],
        "DATABASE_URL": stack["databaseUrl"],
        "TEMPORAL_ADDRESS": stack["temporalAddress"],
        "STRIPE_WEBHOOK_SECRET": stack["stripeWebhookSecret"],
        "INVENTORY_MODE": "reserve_ttl",
        "TMPDIR": str(up.home.parent),
    }


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0][:60])
def test_a_command_does_what_the_page_says(up: Up, block: str) -> None:
    lacking = {name for name in re.findall(r"^holdfast (\w+)", block, re.MULTILINE) if name not in COMMANDS}
    assert lacking <= _TO_COME
    wanting = {tool for tool in ("promtool", "amtool") if tool in block and shutil.which(tool) is None}
    if "holdfast alerts" in block and "ALERTMANAGER_URL" not in os.environ:
        lacking.add("alerts")
    lines = [line for line in block.splitlines() if line.split()[:1] not in [[tool] for tool in wanting]]
    lines = [line for line in lines if not any(line.startswith(f"holdfast {name}") for name in lacking)]
    script = "\n".join(re.sub(r"^make ", "make --dry-run ", line) for line in lines)  # what it runs is run elsewhere
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", PREAMBLE + script],
        cwd=ROOT,
        env=environment(up),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for told in re.findall(r"^# → (.*)$", script, re.MULTILINE):
        assert told in ran.stdout, ran.stdout
    if lacking or wanting:
        pytest.skip(f"not here, so not run: {', '.join([*(f'holdfast {name}' for name in sorted(lacking)), *wanting])}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_that_a_page_names_exist(page: Path) -> None:
    named = set(re.findall(r"`holdfast (\w+)", page.read_text()))
    assert named <= COMMANDS | _TO_COME
    if lacking := named - COMMANDS:
        pytest.skip(f"not here yet: {', '.join(sorted(lacking))}")
