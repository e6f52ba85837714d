"""The `holdfast` command as a person runs it: a process of its own."""

import asyncio
import os
import sys
from dataclasses import dataclass

from tests.stack import Stack, environment

_OURS = ("HOLDFAST_", "INVENTORY_", "TEMPORAL_", "DATABASE_", "STOCK_ALERT_", "HOLD_EVENTS_", "SMTP_")


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


def command_environment(stack: Stack, **changes: str) -> dict[str, str]:
    """Return the environment in which a command is about this stack."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(_OURS)},
        **environment(str(stack.settings.database_url.get_secret_value())),
        "TEMPORAL_ADDRESS": stack.temporal.service_client.config.target_host,
        "COLUMNS": "200",
        **changes,
    }


async def holdfast(stack: Stack, *arguments: str, **changes: str) -> Ran:
    """Run `holdfast` with the arguments on this stack and wait for its end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cli.main",
        *arguments,
        env=command_environment(stack, **changes),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return Ran(process.returncode or 0, out.decode(), err.decode())
