"""Every command of the deployment checklist, run as it stands beside one `holdfast up`: it does what the page says."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from cli.installation import installation
from dev.postgres import postgres_binaries
from tests.e2e.up import Up

pytestmark = [
    pytest.mark.skipif(shutil.which("curl") is None, reason="the page is told with curl"),
]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "deployment-checklist.md"
_BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
TOOLS = ("promtool", "amtool", "openssl", "make")
PREAMBLE, *BLOCKS = dict.fromkeys(textwrap.dedent(block) for block in _BLOCK.findall(PAGE.read_text()))


@pytest.fixture(scope="module")
def environment(up: Up) -> dict[str, str]:
    return {
        **installation(up.environment),
        "HOLDFAST_URL": up.stack["apiUrl"],
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), str(postgres_binaries()), os.environ["PATH"]]),
        "TMPDIR": str(up.home.parent),
    }


def run(block: str, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    script = re.sub(r"^make ", "make --dry-run ", block, flags=re.MULTILINE)  # one of them would run this test
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", PREAMBLE + script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def begun(environment: dict[str, str]) -> Iterator[dict[str, "Future[subprocess.CompletedProcess[str]]"]]:
    """What waits for a hold to expire, begun beside all the others."""
    with ThreadPoolExecutor() as beside:
        yield {block: beside.submit(run, block, environment) for block in BLOCKS if "--with-expiry" in block}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0][:60])
def test_a_command_does_what_the_page_says(
    environment: dict[str, str], begun: dict[str, "Future[subprocess.CompletedProcess[str]]"], block: str
) -> None:
    if missing := [tool for tool in TOOLS if tool in block and not shutil.which(tool)]:
        pytest.skip(f"not installed here: {', '.join(missing)}")
    ran = begun[block].result() if block in begun else run(block, environment)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for told in re.findall(r"^# → (.*)$", block, re.MULTILINE):
        assert told in ran.stdout, ran.stdout
