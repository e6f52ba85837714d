"""`holdfast env` hands the servers of a running `holdfast up` to the programs of a shell."""

import json
import os
import subprocess
import sys
from pathlib import Path

STACK = {
    "databaseUrl": "postgresql://postgres:it's@127.0.0.1:5433/holdfast",
    "temporalAddress": "127.0.0.1:7234",
    "temporalUiUrl": "http://127.0.0.1:8234",
    "apiUrl": "http://127.0.0.1:8001",
    "authorityToken": "a" * 64,
    "adminToken": "b" * 64,
    "stripeWebhookSecret": "whsec_1",
    "simulatorUrl": "",
}


def evaluated(home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    shown = "$DATABASE_URL|$HOLDFAST_URL|$TEMPORAL_ADDRESS|$TEMPORAL_NAMESPACE"
    script = f'eval "$({sys.executable} -m cli.main env)"; echo "{shown}"'
    environment = {**os.environ, "HOLDFAST_HOME": str(home), **variables}
    return subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=True)


def test_a_shell_gets_the_servers_that_run_here_in_place_of_any_it_had(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text(json.dumps(STACK))
    before = {"DATABASE_URL": "postgresql://before/a-restart", "TEMPORAL_NAMESPACE": "elsewhere"}
    ran = evaluated(tmp_path, **before)
    assert ran.stdout == f"{STACK['databaseUrl']}|{STACK['apiUrl']}|{STACK['temporalAddress']}|\n"


def test_without_one_it_says_how_to_start_it(tmp_path: Path) -> None:
    ran = evaluated(tmp_path)
    assert "make up" in ran.stderr
