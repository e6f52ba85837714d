"""`holdfast migrate` on a fresh database, run again, run by several, and where it cannot."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import typer
from typer.testing import CliRunner

from cli.migrate import _LOCK_KEY, MigrationError, migrate, migrate_command
from tests.postgres.revisions import APPLIED, AT_HEAD

TABLES = {
    "InventoryItem",
    "InventoryHold",
    "InventoryHoldAmendment",
    "InventoryHoldAmendmentItem",
    "InventoryHoldItem",
    "InventoryMovement",
    "InventoryCorrection",
    "InventoryOutbox",
    "InventoryPaymentEvent",
    "InventoryMoment",
    "InventoryHoldArchive",
    "InventoryCheckoutParameters",
}


def _command(database_url: str | None) -> tuple[int, str, str]:
    app = typer.Typer()
    app.command("migrate")(migrate_command)
    result = CliRunner().invoke(app, env={"DATABASE_URL": database_url})
    return result.exit_code, result.stdout, result.stderr


def _tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    return {name for (name,) in rows}


def test_a_fresh_database_gets_the_tables_and_a_second_run_says_that_they_are_there(empty_database: str) -> None:
    assert migrate(empty_database) == APPLIED
    assert migrate(empty_database) == AT_HEAD
    assert _tables(empty_database) == {*TABLES, "alembic_version"}


def test_ten_at_once_migrate_once(empty_database: str) -> None:
    with ThreadPoolExecutor(10) as pool:
        outcomes = list(pool.map(lambda _: migrate(empty_database), range(10)))
    assert sorted(outcomes) == sorted([APPLIED, *[AT_HEAD] * 9])


def test_processes_at_once_migrate_once(empty_database: str) -> None:
    program = f"from cli.migrate import migrate; print(migrate({empty_database!r}))"
    running = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(3)
    ]
    printed = sorted(process.communicate(timeout=120)[0].strip() for process in running)
    assert printed == sorted([str(APPLIED), *[str(AT_HEAD)] * 2])


def test_the_wait_for_another_migration_has_an_end(database: str) -> None:
    with psycopg.connect(database) as other:
        other.execute(f"SELECT pg_advisory_lock({_LOCK_KEY})")
        with pytest.raises(MigrationError, match=r"another migration has been running for 0\.2 s"):
            migrate(database, wait_seconds=0.2)


def test_a_failed_revision_leaves_nothing(empty_database: str) -> None:
    with psycopg.connect(empty_database) as connection:
        connection.execute('CREATE TABLE shop ("createdAt" timestamptz)')
        connection.execute('CREATE INDEX "InventoryMovement_shopId_sku_variantKey_id_idx" ON shop ("createdAt")')
    with pytest.raises(MigrationError, match="already exists"):
        migrate(empty_database)
    assert _tables(empty_database) - {"alembic_version"} == {"shop"}
    with psycopg.connect(empty_database) as connection:
        connection.execute("DROP TABLE shop")
    assert migrate(empty_database) == APPLIED


def test_what_a_broken_off_revision_left_is_made_whole_by_the_next_run(database: str) -> None:
    index = "'\"InventoryMovement_shopId_holdId_restock_idx\"'::regclass"
    with psycopg.connect(database) as connection:
        connection.execute(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = {index}")
        connection.execute('ALTER TABLE "InventoryMovement" DROP "idempotencyKey"')
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    assert migrate(database) == APPLIED[1:]
    with psycopg.connect(database) as connection:
        assert connection.execute(f"SELECT indisvalid FROM pg_index WHERE indexrelid = {index}").fetchone() == (True,)
        connection.execute('SELECT "idempotencyKey" FROM "InventoryMovement"')


def test_a_revision_waits_for_the_checkouts_that_run_beside_it_and_they_for_it(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    with psycopg.connect(database) as checkout, ThreadPoolExecutor(1) as pool:
        checkout.execute('LOCK TABLE "InventoryMovement" IN ROW EXCLUSIVE MODE')
        migrating = pool.submit(migrate, database)
        with psycopg.connect(database, autocommit=True) as watch:
            while not watch.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone():
                pass
        checkout.commit()
        assert migrating.result() == APPLIED[1:]


def test_an_older_release_leaves_a_newer_schema_alone(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert migrate(database) == ["schema is newer than this release (at 9999); nothing to do"]


def test_the_command_prints_what_it_did(empty_database: str) -> None:
    assert _command(empty_database) == (0, "".join(f"{line}\n" for line in APPLIED), "")
    assert _command(empty_database) == (0, f"{AT_HEAD[0]}\n", "")


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("postgresql://holdfast:top-secret@127.0.0.1:1/holdfast", "127.0.0.1"),
        ("postgresql://holdfast:top-secret@127.0.0.1:x/holdfast", "port"),
        ("postgresql://holdfast:top-secret@[::1", "DATABASE_URL"),
        (None, "DATABASE_URL"),
    ],
)
def test_an_unreachable_database_is_one_error_line_without_the_password(url: str | None, named: str) -> None:
    code, output, error = _command(url)
    assert code == 1
    assert output == ""
    assert error.count("\n") == 1
    assert named in error
    assert "top-secret" not in error


@pytest.mark.parametrize("url", ["postgresql://u:top-secret@[::1", "host=x password=top-secret port"])
def test_a_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    with pytest.raises(MigrationError) as refused:
        migrate(url)
    assert "top-secret" not in str(refused.value)
