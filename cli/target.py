"""Which installation a command is about: the environment's, else the one that `holdfast up` runs here."""

import os
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn, Self

import typer
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from cli.installation import running_stack
from core.database import DatabaseBusyError, DatabaseUnavailableError, create_engine
from core.secret_files import is_set
from core.setting_errors import SettingsError
from core.settings import Settings
from core.temporal import connect

CONNECTIONS = 4


class TargetError(Exception):
    """There is nothing to work on. The message says what to set."""


def settings() -> Settings:
    """Return the settings of the environment; without DATABASE_URL, servers are those of `holdfast up`.

    Raises TargetError.
    """
    environment = dict(os.environ)
    if not is_set(environment, "DATABASE_URL"):
        stack = running_stack(environment)
        if not stack:
            raise TargetError("DATABASE_URL is not set, and no `holdfast up` runs here (HOLDFAST_HOME)")
        environment["DATABASE_URL"] = str(stack["databaseUrl"])
        os.environ["TEMPORAL_ADDRESS"] = str(stack["temporalAddress"])  # read by Temporal's own library
        if stack["temporalUiUrl"]:
            environment.setdefault("TEMPORAL_UI_URL", str(stack["temporalUiUrl"]))
    try:
        return Settings.read(environment)
    except SettingsError as error:
        raise TargetError(str(error)) from error


class Target:
    """The database and the Temporal server of an installation, while the block runs."""

    def __init__(self, given: Settings) -> None:
        self.settings = given
        self.engine: AsyncEngine = create_engine(given, pool_size=CONNECTIONS)

    async def __aenter__(self) -> Self:
        self.temporal: Client = await connect(self.settings.temporal_api_key, lazy=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.engine.dispose()


def fail(command: str, message: str, code: int = 2) -> NoReturn:
    """Say on one line why the command could not do its work, and end it."""
    print(f"holdfast {command}: {message}", file=sys.stderr)
    raise typer.Exit(code)


def finish(command: str, work: Coroutine[Any, Any, int]) -> NoReturn:
    """Run the command's work and end with its exit code; 2 where the servers are out of reach."""
    import asyncio  # noqa: PLC0415 - commands that do not connect start without it

    try:
        code = asyncio.run(work)
    except (TargetError, SettingsError, DatabaseBusyError, DatabaseUnavailableError) as error:
        fail(command, str(error))
    raise typer.Exit(code)
