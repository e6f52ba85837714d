"""The scripts of docker-compose.yml: the secrets that they make open the database that they make."""

import os
import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest

from cli.migrate import migrate
from dev.postgres import EmbeddedPostgres, postgres_binaries
from tests.servers import FAST

DEPLOY = Path(__file__).parents[2] / "deploy"

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the secrets")


def made(folder: Path) -> list[str]:
    ran = subprocess.run(
        ["sh", str(DEPLOY / "secrets.sh"), str(folder)], capture_output=True, text=True, check=True, timeout=120
    )
    return ran.stdout.splitlines()


def test_secrets_are_made_once_and_may_be_read_by_each_container_and_nobody_else(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    assert len(made(folder)) == len(list(folder.iterdir()))
    before = {file.name: file.read_text() for file in folder.iterdir()}
    assert made(folder) == []
    assert {file.name: file.read_text() for file in folder.iterdir()} == before
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o444}
    assert len(set(before.values())) == len(before)


def test_no_secret_is_made_where_openssl_is_not_there(tmp_path: Path) -> None:
    tools, folder = tmp_path / "bin", tmp_path / "secrets"
    tools.mkdir()
    for name in ("sh", "mkdir", "chmod", "cat"):
        (tools / name).symlink_to(str(shutil.which(name)))
    script = [str(tools / "sh"), str(DEPLOY / "secrets.sh"), str(folder)]
    ran = subprocess.run(script, capture_output=True, text=True, check=False, timeout=120, env={"PATH": str(tools)})
    assert ran.returncode != 0
    assert "openssl" in ran.stderr
    assert list(folder.iterdir()) == []


def test_the_roles_open_what_they_need(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("roles")
    secrets = folder / "secrets"
    made(secrets)
    server = EmbeddedPostgres(folder / "postgres", settings=FAST)
    server.start()
    try:
        subprocess.run(
            ["sh", str(DEPLOY / "postgres" / "roles.sh")],
            env={
                "PATH": os.pathsep.join((str(postgres_binaries()), os.environ["PATH"])),
                "PGHOST": "127.0.0.1",
                "PGPORT": str(server.port),
                "SECRETS": str(secrets),
            },
            check=True,
            capture_output=True,
            timeout=120,
        )
        url = (secrets / "database_url").read_text().strip().replace("@postgres:5432/", f"@127.0.0.1:{server.port}/")
        assert any(line.startswith("applied") for line in migrate(url))
        with psycopg.connect(server.url) as connection:
            row = connection.execute(
                "SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid WHERE rolname = 'temporal'"
            ).fetchone()
        assert row == (True,)
        temporal = f"postgresql://temporal@127.0.0.1:{server.port}"
        with psycopg.connect(f"{temporal}/postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE temporal")
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(f"{temporal}/holdfast")
    finally:
        server.stop()
