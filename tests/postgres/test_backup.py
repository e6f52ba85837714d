"""The scheduled backup of docker-compose.yml on a real server: what it keeps can be restored."""

import os
import subprocess
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from dev.postgres import postgres_binaries
from tests.documents import ROOT


def backed_up(database: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    server = conninfo_to_dict(database)
    environment = {
        "PATH": os.pathsep.join([str(postgres_binaries()), os.environ["PATH"]]),
        "PGHOST": str(server["host"]),
        "PGPORT": str(server["port"]),
        "PGUSER": str(server["user"]),
        "PGPASSWORD": str(server.get("password", "")),
        "BACKUP_FOLDER": str(folder),
        "BACKUP_DATABASES": str(server["dbname"]),
    }
    return subprocess.run(
        ["sh", str(ROOT / "deploy" / "backup" / "backup.sh"), "once"],
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_backup_is_checked_by_a_restore_told_to_prometheus_and_deleted_when_it_is_old(
    database: str, tmp_path: Path
) -> None:
    old = tmp_path / "holdfast-20260101T000000Z.dump"
    old.touch()
    os.utime(old, (0, 0))
    ran = backed_up(database, tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (dump,) = tmp_path.glob("*.dump")
    listed = subprocess.run(
        [postgres_binaries() / "pg_restore", "--list", dump], capture_output=True, text=True, check=True
    )
    assert "TABLE DATA public InventoryMovement" in listed.stdout
    name = conninfo_to_dict(database)["dbname"]
    assert (
        (tmp_path / "metrics" / "backup.prom")
        .read_text()
        .startswith(f'holdfast_backup_timestamp_seconds{{database="{name}"}} ')
    )
    with psycopg.connect(database) as connection:
        assert connection.execute(
            "SELECT count(*) FROM pg_database WHERE datname LIKE '%restore_check'"
        ).fetchone() == (0,)


def test_a_dump_that_cannot_be_restored_is_an_error_and_keeps_the_earlier_ones(database: str, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "pg_restore").write_text("#!/bin/sh\necho 'out of space' >&2\nexit 1\n")
    (tools / "pg_restore").chmod(0o755)
    old = tmp_path / "holdfast-20260101T000000Z.dump"
    old.touch()
    os.utime(old, (0, 0))
    path = os.pathsep.join([str(tools), str(postgres_binaries()), os.environ["PATH"]])
    ran = backed_up(database, tmp_path, PATH=path)
    assert (ran.returncode, '"level": "error"' in ran.stdout) == (1, True), ran.stdout + ran.stderr
    assert list(tmp_path.glob("*.dump*")) == [old]
    assert not (tmp_path / "metrics" / "backup.prom").exists()
    assert (tmp_path / "metrics" / "wanted.prom").read_text().startswith("holdfast_backup_wanted_timestamp_seconds{")
