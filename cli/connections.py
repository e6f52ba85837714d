"""Running a command on the installation of the environment, or else on the `holdfast up` that runs here."""

import asyncio
import os
import sys
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, NoReturn, Self

import typer
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from cli.exit_codes import EXPECTED_ERRORS, ExitCode, exit_code_of
from cli.installation import installation
from core.database import create_engine
from core.error_messages import first_line
from core.secret_files import is_set
from core.settings import Settings
from core.temporal import connect
from domain.names import NAME_RULE, is_name
from holds.errors import TemporalUnavailableError

CONNECTIONS = 4


class Connections:
    """The database and the Temporal server of an installation, closed at the end of the block."""

    def __init__(self, command: str) -> None:
        """Read the settings. Ends the command if there is no installation. Raises SettingsError."""
        self._command = command
        self._environment = installation(os.environ)
        if not is_set(self._environment, "DATABASE_URL"):
            fail(command, "DATABASE_URL is not set, and no `holdfast up` runs here (HOLDFAST_HOME)")
        self.settings = Settings.read(self._environment)
        self.engine: AsyncEngine = create_engine(self.settings, pool_size=CONNECTIONS)

    async def __aenter__(self) -> Self:
        self.temporal: Client = await connect(self.settings.temporal_api_key, lazy=True, environment=self._environment)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _at: TracebackType | None
    ) -> None:
        """Close the connections. Ends the command with the address and a fix if Temporal cannot be reached."""
        await self.engine.dispose()
        if isinstance(error, TemporalUnavailableError):
            address, cause = self.temporal.service_client.config.target_host, error.__cause__ or error
            fix = "check TEMPORAL_ADDRESS and the other TEMPORAL_* settings by `holdfast doctor`"
            fail(self._command, f"Temporal cannot be used at {address}: {first_line(cause)}; {fix}")


def run(command: str, work: Coroutine[Any, Any, int]) -> NoReturn:
    """Run the command's work and end with the exit code that it returns, or that of its error."""
    try:
        code = asyncio.run(work)
    except EXPECTED_ERRORS as error:
        fail(command, str(error), exit_code_of(error))
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    raise typer.Exit(code)


def fail(command: str, message: str, code: int = ExitCode.NOT_RUN) -> NoReturn:
    """Print the reason on one line and end the command."""
    print(f"holdfast {command}: {message}", file=sys.stderr)
    raise typer.Exit(code)


def require_shop_id(command: str, shop: str) -> str:
    """Return the shop's id, or end the command if it is not valid."""
    if not is_name(shop):
        fail(command, f"--shop {shop!r} {NAME_RULE}")
    return shop
