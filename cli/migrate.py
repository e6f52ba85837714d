"""`holdfast migrate`: migrates the database to this release's schema. Concurrent runs wait for each other."""

import sys
import time
from pathlib import Path

import psycopg
import typer
from alembic import command as alembic
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import Connection, Engine, create_engine, exc
from sqlalchemy.pool import NullPool

import migrations
from core.database_session import OPTIONS_ARRIVED, SESSION_DEFAULTS, startup_options
from core.setting_errors import SettingsError
from core.settings import Settings
from migrations.adoption import AdoptionRefusedError, adopt

TABLE_LOCK_MS = 1500
"""Less than the 2 s that a checkout waits: a change behind a long transaction delays checkouts, but fails none."""
STATEMENT_MS = 300_000
"""Long enough for an index on a large table, short enough to stop a deployment that hangs."""
MIGRATION_LOCK_SECONDS = 60.0
"""How long a migration waits for another one to finish."""

_LOCK_KEY = int.from_bytes(b"holdfast")
_POLL_SECONDS = 0.1
_POOLER = (
    "a migration needs a connection to Postgres itself, and this one leads to a pooler: set DATABASE_URL to Postgres's "
    "own address, and INVENTORY_DATABASE_POOLER=0, for this command"
)


class MigrationError(Exception):
    """The migration failed. The message contains no password."""


def migrate(database_url: str, *, wait_seconds: float = MIGRATION_LOCK_SECONDS) -> list[str]:
    """Migrate the database to this release's schema and return what was done, one line for each step.

    Idempotent, and safe to run concurrently: one migrates, the others wait. Raises MigrationError: the revisions before
    the failing one stay applied, the failing one is rolled back.
    """
    engine = _engine(database_url)
    try:
        with engine.connect() as connection:
            if not connection.exec_driver_sql(OPTIONS_ARRIVED).scalar_one():
                raise MigrationError(_POOLER)
            _take_migration_lock(connection, wait_seconds)
            return _bring_up_to_date(connection)
    except AdoptionRefusedError as error:
        raise MigrationError(str(error)) from error
    except exc.DBAPIError as error:
        raise MigrationError(_message(error)) from error


def migrate_command() -> None:
    """Migrate the database at DATABASE_URL to this release's schema. Safe to repeat and to run concurrently."""
    try:
        lines = migrate(_own_url(Settings.read_database()))  # a migration job needs no tokens
    except (SettingsError, MigrationError) as error:
        print(f"holdfast migrate: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    for line in lines:
        print(line)


def _own_url(settings: Settings) -> str:
    if settings.database_pooler:
        raise MigrationError(_POOLER)
    return settings.database_url.get_secret_value()


def _engine(database_url: str) -> Engine:
    try:
        given = conninfo_to_dict(database_url)
        limits = {"lock_timeout": str(TABLE_LOCK_MS), "statement_timeout": str(STATEMENT_MS)}
        defaults = {
            "connect_timeout": "5",
            "application_name": "holdfast migrate",
            "target_session_attrs": "read-write",
        }
        info = make_conninfo(
            database_url,
            client_encoding="UTF8",
            options=startup_options(given.get("options"), SESSION_DEFAULTS | limits),
            **{name: value for name, value in defaults.items() if name not in given},
        )
    except psycopg.ProgrammingError:  # its message contains the URL with the password
        raise MigrationError("the database URL is not valid") from None
    return create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(info), poolclass=NullPool)


def _take_migration_lock(connection: Connection, wait_seconds: float) -> None:
    """Take an advisory lock of the session, which Postgres releases when the connection ends.

    Polls for it: a waiting pg_advisory_lock would hold a snapshot that CREATE INDEX CONCURRENTLY waits for.
    """
    give_up = time.monotonic() + wait_seconds
    while not connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({_LOCK_KEY})").scalar_one():
        connection.rollback()
        if time.monotonic() >= give_up:
            raise MigrationError(
                f"another migration has been running for {wait_seconds:g} s; run it again when it is done"
            )
        time.sleep(_POLL_SECONDS)
    connection.commit()


def _bring_up_to_date(connection: Connection) -> list[str]:
    applied: list[str] = []
    config = Config(attributes={"connection": connection, "applied": applied})
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    context = MigrationContext.configure(connection)
    current = context.get_current_heads()
    known = {revision.revision for revision in script.walk_revisions()}
    if newer := sorted(set(current) - known):
        return [f"schema is newer than this release (at {', '.join(newer)}); nothing to do"]
    lines: list[str] = []
    if not current:
        first = script.get_revision("0001")
        lines = adopt(connection, first.module.TABLES, first.module.INDEXES) or []
        if lines:
            context.stamp(script, "0001")
    connection.commit()
    alembic.upgrade(config, "head")
    lines.extend(f"applied {revision}: {script.get_revision(revision).doc}" for revision in applied)
    return lines or [f"already at {script.get_current_head()} (head)"]


def _message(error: exc.DBAPIError) -> str:
    state = getattr(error.orig, "sqlstate", None)
    text = " ".join(str(error.orig).split())
    if state == "55P03":
        return f"a table was in use for more than {TABLE_LOCK_MS / 1000:g} s; nothing was changed, run it again"
    if state == "57014":
        return f"a step took longer than {STATEMENT_MS // 1000} s and was undone"
    if state is None and isinstance(error.orig, psycopg.OperationalError):
        return f"the database cannot be reached: {text}"
    return text
