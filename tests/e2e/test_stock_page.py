"""The examples of docs/stock.md, run as they are written: nothing on the page is refused."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.up import Up

pytestmark = [
    pytest.mark.skipif(shutil.which("curl") is None, reason="the page is told with curl"),
]

PAGE = Path(__file__).parents[2] / "docs" / "stock.md"


def test_the_page_s_examples_do_what_they_say(up: Up, tmp_path: Path) -> None:
    script = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL))
    script = script.replace("http://127.0.0.1:8000", up.stack["apiUrl"]).replace(".holdfast", str(up.home))
    script = script.replace("$PWD/.venv/bin", str(Path(sys.executable).parent))
    ran = subprocess.run(
        ["bash", "-euc", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
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
