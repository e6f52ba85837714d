"""A test that starts servers and never stops them, for `test_clean_end.py`, which runs it in a pytest of its own."""

import os
import threading
from pathlib import Path

import psutil

from dev.postgres import EmbeddedPostgres
from tests.e2e.up import Up, until


def test_that_leaves_servers(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    assert psutil.pid_exists(postgres.pid)
    up = Up(tmp_path / "home")
    up.launch()
    until(lambda: "temporal" in up.each(psutil.Process.name), 120, up.output)
    Path(os.environ["SERVERS_RUN"]).write_text(str(os.getpid()))
    if "FAIL" not in os.environ:
        threading.Event().wait()
    raise AssertionError
