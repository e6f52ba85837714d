"""What every test may ask for: a real Postgres, a fresh database on it, the product's own engine."""

import asyncio
import faulthandler
import os
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import psycopg
import pytest
import structlog
from _pytest.faulthandler import fault_handler_stderr_fd_key
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from cli.migrate import migrate
from core.data_converter import data_converter
from core.database import create_engine
from core.settings import Settings
from dev.postgres import EmbeddedPostgres
from dev.temporal import EmbeddedTemporal
from tests.servers import FAST, address_of, database_on, empty, time_skipping_temporal
from tests.session import logs
from tests.session.folder import SessionFolder
from tests.session.leaks import _leaks_fail_their_test, _leaks_of_a_module_fail_its_last_test  # noqa: F401
from tests.stack import Stack, running_stack
from tests.tls import trust_one_authority

structlog.configure(  # as for a terminal: the default renders a traceback for seconds, on the event loop
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)

_TEMPLATE = "holdfast_template"
_FOLDER = pytest.StashKey[SessionFolder]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give this process a folder of its own before any plugin makes a temporary one."""
    folder = SessionFolder.open(os.environ.get("PYTEST_XDIST_WORKER", "holdfast-tests"))
    trust_one_authority(folder.path)
    config.stash[_FOLDER] = folder
    config.option.basetemp = folder.path / "tmp"


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(node: pytest.Item | pytest.Collector) -> None:
    """Go on with the time limit that pytest ends at a failure: the test's end may wait for a task that never ends."""
    config = node.config
    if fault_handler_stderr_fd_key in config.stash:
        limit = float(config.getini("faulthandler_timeout"))
        faulthandler.dump_traceback_later(limit, exit=True, file=config.stash[fault_handler_stderr_fd_key])


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave nothing behind."""
    config.stash[_FOLDER].close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs of a failed test's servers."""
    report = yield
    if report.failed:
        report.sections.extend(logs.sections(item.config.stash[_FOLDER].path, call.start))
    return report


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server for the whole session. A test that stops a server starts its own."""
    folder: Path = tmp_path_factory.mktemp("postgres")
    server = EmbeddedPostgres(folder, settings=FAST)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def empty_database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    with database_on(postgres, "template0") as url:
        yield url


@pytest.fixture(scope="session")
def migrated_template(postgres: EmbeddedPostgres) -> str:
    """The name of a migrated database that nobody connects to, so that it can be copied."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{_TEMPLATE}"')
    migrate(postgres.database_url(_TEMPLATE))
    return _TEMPLATE


@pytest.fixture
def database(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """The URL of a fresh, migrated database."""
    with database_on(postgres, migrated_template) as url:
        yield url


@pytest.fixture(scope="module")
def _tables(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    with database_on(postgres, migrated_template) as url:
        yield url


@pytest.fixture
def tables(_tables: str) -> str:
    """The URL of a migrated, empty database. A module's tests share it, and none changes its schema."""
    empty(_tables)
    return _tables


@pytest.fixture
async def engine(tables: str) -> AsyncIterator[AsyncEngine]:
    """The product's engine on `tables`, with the default settings."""
    engine = create_engine(Settings.read({"DATABASE_URL": tables}))
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
async def temporal() -> AsyncIterator[Client]:
    """A client of a real Temporal server, one for the whole session. A test that stops a server starts its own."""
    server = EmbeddedTemporal(None, ui=False)
    await asyncio.to_thread(server.start)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TEMPORAL_ADDRESS", server.address)
            yield await Client.connect(server.address, data_converter=data_converter)
    finally:
        server.stop()


@pytest.fixture(scope="session")
async def _time_skipping() -> AsyncIterator[WorkflowEnvironment]:
    async with time_skipping_temporal() as environment:
        yield environment


@pytest.fixture
def time_skipping(_time_skipping: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch) -> WorkflowEnvironment:
    """A Temporal server that can skip time, one for the whole session; the product under test connects to it."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", address_of(_time_skipping))
    return _time_skipping


@pytest.fixture(scope="module")
async def _shared_stack(postgres: EmbeddedPostgres, migrated_template: str, temporal: Client) -> AsyncIterator[Stack]:
    with database_on(postgres, migrated_template) as url:
        async with running_stack(url, temporal) as running:
            yield running


@pytest.fixture
async def stack(_shared_stack: Stack) -> Stack:
    """The product: API over HTTP and a worker, empty, on the real Temporal. The tests of a module share it."""
    await _shared_stack.renew()
    return _shared_stack


@pytest.fixture
async def own_stack(database: str, temporal: Client) -> AsyncIterator[Stack]:
    """The same for one test: one that changes the database's schema or lists the workflows of its task queue."""
    async with running_stack(database, temporal) as running:
        yield running
