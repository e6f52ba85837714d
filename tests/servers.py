"""Parts of servers that fixtures of several folders share: databases on a Postgres, a Temporal that skips time."""

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta

import psycopg
import pytest
from temporalio.testing import WorkflowEnvironment

from core.data_converter import data_converter
from dev.postgres import EmbeddedPostgres
from dev.temporal import TEMPORAL_FLAGS, temporal_binary
from tests.waiting import LIMIT_SECONDS

FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""The tests' data need not survive a crash of the machine."""
EMPTY = """
DO $$ BEGIN
  EXECUTE (SELECT 'TRUNCATE ' || string_agg(quote_ident(tablename), ', ') || ' RESTART IDENTITY' FROM pg_tables
           WHERE schemaname = 'public' AND starts_with(tablename, 'Inventory'));
END $$
"""
"""A statement that empties the product's tables: a tenth of the time of a new database."""
_CUT_OFF = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


@contextmanager
def database_on(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    """Yield the URL of a fresh database."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY'.encode())
        yield postgres.database_url(name)
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def empty(url: str) -> None:
    """End what earlier tests still do in a database, and empty its tables."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_CUT_OFF)
        connection.execute(EMPTY)


@asynccontextmanager
async def time_skipping_temporal(*flags: str) -> AsyncIterator[WorkflowEnvironment]:
    """Run a Temporal server on which a test can let time pass for one workflow (`fast_forward`)."""
    environment = await WorkflowEnvironment.start_time_skipping_v2(
        dev_server_existing_path=str(temporal_binary()),
        dev_server_extra_args=[
            *TEMPORAL_FLAGS,
            "--dynamic-config-value=frontend.WorkflowTimeSkippingEnabled=true",
            *flags,
        ],
        dev_server_startup_timeout=timedelta(seconds=LIMIT_SECONDS),
        data_converter=data_converter,
    )
    async with environment:
        yield environment


def address_of(environment: WorkflowEnvironment) -> str:
    """Return the host and port of the environment's server."""
    return environment.client.service_client.config.target_host


@asynccontextmanager
async def own_time_skipping_temporal(*flags: str) -> AsyncIterator[WorkflowEnvironment]:
    """Run one for a single test; the product under test connects to it."""
    async with time_skipping_temporal(*flags) as environment:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TEMPORAL_ADDRESS", address_of(environment))
            yield environment
