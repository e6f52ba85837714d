"""The `holdfast` command as a person runs it: a process of its own, forked from one that has imported the code."""

import asyncio
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.forks import Fork
from tests.stack import Stack, environment
from tests.waiting import LIMIT_SECONDS

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
    return await asyncio.to_thread(run_holdfast, arguments, command_environment(stack, **changes))


def run_holdfast(arguments: Sequence[str], variables: Mapping[str, str]) -> Ran:
    """Run `holdfast` with these arguments and these variables only, and wait for its end."""
    with tempfile.TemporaryDirectory() as folder:
        code = Fork("cli.main", arguments, variables, Path(folder)).wait(LIMIT_SECONDS)
        return Ran(code, Path(folder, "out").read_text(), Path(folder, "err").read_text())
