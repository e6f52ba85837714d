"""The commands of the pages that people copy from, and the operator's, run as they stand beside one `holdfast up`."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cli.installation import installation
from dev.postgres import postgres_binaries
from tests.commands import run_holdfast
from tests.e2e.up import Up, until, with_default_interrupt

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the pages are told with curl")

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
STOCK = ROOT / "docs" / "stock.md"
CHECKLIST = ROOT / "docs" / "deployment-checklist.md"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
_ANSWER = "# {"
"""How a line of the walk begins that is the answer to the request above it."""
_BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
TOOLS = ("openssl", "make")
PREAMBLE, *_BLOCKS = dict.fromkeys(textwrap.dedent(block) for block in _BLOCK.findall(CHECKLIST.read_text()))
BLOCKS = sorted(
    (block for block in _BLOCKS if "promtool" not in block),  # tests/system has its commands
    key=lambda block: "--with-expiry" in block,
)
"""What waits for a hold to expire is looked at last."""


def holdfast(up: Up, *arguments: str) -> tuple[int, str]:
    ran = run_holdfast(arguments, up.environment)
    assert "Traceback" not in ran.err, ran.err
    return ran.code, ran.out + ran.err


def as_json(up: Up, *arguments: str) -> tuple[int, dict[str, Any]]:
    code, printed = holdfast(up, *arguments, "--json")
    told: dict[str, Any] = json.loads(printed)
    return code, told


def test_smoke_checks_out_and_doctor_and_report_have_seen_it(up: Up) -> None:
    code, smoked = as_json(up, "smoke")
    assert (code, smoked["ok"]) == (0, True), smoked
    assert "commit seen" in [step["name"] for step in smoked["steps"]]
    code, told = as_json(up, "doctor")
    assert code == 0, [line for line in told["lines"] if line["state"] == "fault"]
    (arrive,) = [line for line in told["lines"] if line["name"] == "webhooks arrive"]
    assert arrive["state"] == "not_applicable"  # the smoke's own event is none
    code, report = as_json(up, "report", "--since", "1h", "--shop", "holdfast-smoke")
    assert code == 0
    assert (report["holds"]["committed"], report["holds"]["released"], report["holds"]["active"]) == (1, 1, 0)
    assert "since the API started" in report["metrics"]["source"]
    p95 = {each["name"]: each["shown"] for each in report["figures"]}
    assert p95["webhook p95"].endswith(" ms")


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


def walk() -> str:
    (block,) = re.findall(r"## One hold in five requests\n.*?```sh\n(.*?)```", README.read_text(), re.DOTALL)
    return str(block)


def test_the_walk_gets_the_answers_that_the_readme_shows(up: Up) -> None:
    told = [line.removeprefix("# ") for line in walk().splitlines() if line.startswith(_ANSWER)]
    script = walk().replace("http://127.0.0.1:8000", up.stack["apiUrl"]).replace(".holdfast", str(up.home))
    ran = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    answers = ran.stdout.splitlines()
    assert len(answers) == len(told)
    for answer, expected in zip(answers, told, strict=True):
        assert _pattern(expected).fullmatch(answer), f"told:     {expected}\nanswered: {answer}"


def _pattern(told: str) -> re.Pattern[str]:
    """Return what the told answer allows: any time for a time, anything for what is left out."""
    text = re.escape(_TIME.sub("@", told)).replace("@", _TIME.pattern)
    return re.compile(text.replace("…", ".*"))


def test_the_examples_of_the_page_about_stock_do_what_they_say(up: Up, tmp_path: Path) -> None:
    script = "\n".join(re.findall(r"```sh\n(.*?)```", STOCK.read_text(), re.DOTALL))
    script = script.replace("http://127.0.0.1:8000", up.stack["apiUrl"]).replace(".holdfast", str(up.home))
    script = script.replace("$PWD/.venv/bin", str(Path(sys.executable).parent))
    ran = subprocess.run(
        ["bash", "-euc", script],
        cwd=tmp_path,
        env={**os.environ, "HOLDFAST_HOME": str(up.home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert '"error"' not in ran.stdout
    assert "what would change" in ran.stdout.lower()
    assert '"restocked":[{"sku":"CAP","variantKey":"blue","quantity":2}]' in ran.stdout
    assert (tmp_path / "stock.csv").read_text().splitlines()[1:3] == [
        'demo,CAP,blue,cap,35,5,"Cap, organic cotton",,',
        "demo,CAP,red,cap,12,,,,",
    ]
    assert "damaged in transit" in ran.stdout


def test_doctor_says_that_the_worker_is_stopped(up: Up) -> None:
    """The API answers for the holds that it runs, but only a worker for the mail of an item that is low."""
    for item in ({"onHand": 5, "lowStockThreshold": 3}, {"onHand": 2}):
        up.ask("PUT", "/inventory/items", {"shopId": "demo", "items": [{"sku": "LOW", **item}]}, role="admin")
    until(lambda: bool(list((up.home / "mail").glob("*Low-stock--LOW*.eml"))), 120, up.output)
    worker = up.stack["pids"]["worker"]
    os.kill(worker, signal.SIGSTOP)
    try:
        code, told = as_json(up, "doctor")
    finally:
        os.kill(worker, signal.SIGCONT)
    assert code == 1
    # Its polls end some time after it stopped; until then, only a question tells.
    assert {line["name"] for line in told["lines"] if line["state"] == "fault"} in ({"worker answers"}, {"workers"})
    until(lambda: holdfast(up, "smoke")[0] == 0, 120)


def test_ctrl_c_ends_smoke_with_nothing_held(up: Up) -> None:
    smoke = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "smoke", "--with-expiry"],
        env=up.environment,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=with_default_interrupt,  # noqa: PLW1509 - nothing but a signal's disposition is set
    )
    path = "/inventory/holds?shopId=holdfast-smoke&status=active"
    until(lambda: any(_lives(hold) < timedelta(minutes=1) for hold in up.ask("GET", path)["holds"]), 120)
    smoke.send_signal(signal.SIGINT)
    printed = smoke.communicate(timeout=120)[0]
    assert smoke.returncode == 130, printed
    assert "Interrupted" in printed
    assert up.ask("GET", path)["holds"] == []


def _lives(hold: dict[str, Any]) -> timedelta:
    return datetime.fromisoformat(hold["expiresAt"]) - datetime.fromisoformat(hold["createdAt"])
