"""A shell gets what the runbooks' commands need: of `holdfast up` by `holdfast env`, of compose by `deploy/env.sh`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from tests.documents import ROOT

STACK = {
    "databaseUrl": "postgresql://postgres:it's@127.0.0.1:5433/holdfast",
    "temporalAddress": "127.0.0.1:7234",
    "temporalUiUrl": "http://127.0.0.1:8234",
    "apiUrl": "http://127.0.0.1:8001",
    "authorityToken": "a" * 64,
    "adminToken": "b" * 64,
    "stripeWebhookSecret": "whsec_1",
    "simulatorUrl": "",
    "programFolders": ["/programs/of postgres"],
}
DOCKER = """#!/bin/sh
echo "in $PWD: $*" | sed "s|$OPERATOR|HERE|"
"""


def evaluated(home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    shown = "$DATABASE_URL|$HOLDFAST_URL|$TEMPORAL_ADDRESS|$TEMPORAL_NAMESPACE|${PATH%%:*}"
    script = f'eval "$({sys.executable} -m cli.main env)"; echo "{shown}"'
    environment = {**os.environ, "HOLDFAST_HOME": str(home), **variables}
    return subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=True)


def test_a_shell_gets_the_servers_that_run_here_in_place_of_any_it_had(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text(json.dumps(STACK))
    before = {"DATABASE_URL": "postgresql://before/a-restart", "TEMPORAL_NAMESPACE": "elsewhere"}
    ran = evaluated(tmp_path, **before)
    assert ran.stdout == f"{STACK['databaseUrl']}|{STACK['apiUrl']}|{STACK['temporalAddress']}||/programs/of postgres\n"


def test_without_one_it_says_how_to_start_it(tmp_path: Path) -> None:
    ran = evaluated(tmp_path)
    assert "make up" in ran.stderr


def test_on_the_host_of_compose_the_runbooks_commands_run_in_its_containers(tmp_path: Path) -> None:
    root, operator, programs = (tmp_path / name for name in ("holdfast", "an operator", "bin"))
    for folder in (root / "deploy", root / "secrets", operator, programs):
        folder.mkdir(parents=True)
    (root / "deploy" / "env.sh").write_text((ROOT / "deploy" / "env.sh").read_text())
    (root / ".env").write_text('HOLDFAST_API_ADDRESS=0.0.0.0\nHOLDFAST_API_PORTS="8100-8101"\n')
    secrets = {
        "database_url": "postgresql://holdfast:s3cret@postgres/holdfast",
        "authority_token": "new,old",
        "admin_token": "admin",
    }
    for name, value in secrets.items():
        (root / "secrets" / name).write_text(f"{value}\n")
    (programs / "docker").write_text(DOCKER)
    (programs / "docker").chmod(0o755)
    script = """
        printed=$(sh ../holdfast/deploy/env.sh); case "$printed" in *s3cret*) exit 1;; esac; eval "$printed"
        echo "$HOLDFAST_URL $INVENTORY_AUTHORITY_TOKEN"
        holdfast holds release 'cart 1' --shop demo
        temporal workflow count
        psql "$DATABASE_URL" -c 'SELECT 1'
        pg_dump --file=now.dump "$DATABASE_URL"
    """
    variables = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "OPERATOR": str(operator)}
    ran = subprocess.run(
        ["sh", "-euc", script], cwd=operator, env=variables, capture_output=True, text=True, check=False
    )
    container = f"in {root}: compose run -T --rm --no-deps --volume HERE:/here --workdir /here"
    assert (ran.stderr, ran.stdout.splitlines()) == (
        "",
        [
            "http://127.0.0.1:8100 new",
            f"{container} api holdfast holds release cart 1 --shop demo",
            f"{container} temporal workflow count",
            f"{container} psql psql {secrets['database_url']} -c SELECT 1",
            f"{container} psql pg_dump --file=now.dump {secrets['database_url']}",
        ],
    )
    assert {"api", "temporal", "psql"} <= set(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"])
