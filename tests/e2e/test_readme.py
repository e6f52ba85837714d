"""The README's walk through one hold, run as written: each answer matches the one below its request."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.up import Up

pytestmark = [
    pytest.mark.skipif(shutil.which("curl") is None, reason="the walk uses curl"),
]

README = Path(__file__).parents[2] / "README.md"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
_ANSWER = "# {"
"""How a line of the walk begins that is the answer to the request above it."""


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
