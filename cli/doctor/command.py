"""`holdfast doctor`: is everything there, set and reachable that Holdfast needs, and what to do where it is not."""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from importlib.metadata import version
from typing import Annotated

import typer

from cli.doctor import stripe
from cli.doctor.api import api_lines
from cli.doctor.database import database_lines, unknown_lines
from cli.doctor.lines import Check, Line, State, carried_out, show
from cli.doctor.packages import package_lines
from cli.doctor.settings import left_over_line, read, setting_lines
from cli.doctor.temporal import temporal_lines
from cli.installation import installation
from core.settings import TASK_QUEUE

_AREAS = ("settings", "database", "temporal", "stripe", "api", "packages", "left-overs")


async def examined(
    variables: Mapping[str, str],
    *,
    processes: int = 2,
    task_queue: str = TASK_QUEUE,
    now: Callable[[], float] = time.time,
) -> list[Line]:
    """Look at the installation of these environment variables. Answers within some 15 s, whatever is out of reach."""
    environment = read(variables)
    release = version("holdfast")

    async def database() -> list[Line]:
        if not environment.database_known:
            return unknown_lines()
        return await database_lines(environment.settings, processes, now)

    # What only this process has to do comes after: an import under way would make every clock look slow.
    asked = [
        Check("database", "database", database),
        Check(
            "temporal",
            "temporal",
            lambda: temporal_lines(
                variables, environment.settings.temporal_api_key, task_queue=task_queue, release=release, now=now
            ),
        ),
        Check("stripe", "key works", lambda: stripe.key_line(environment)),
        Check("api", "api", lambda: api_lines(environment, release)),
    ]
    known = [
        Check("settings", "settings", _at_once(lambda: setting_lines(environment))),
        Check("stripe", "keys", _at_once(lambda: stripe.key_mode_lines(environment))),
        Check("stripe", "webhook secret", _at_once(lambda: [stripe.secret_line(environment)])),
        Check("packages", "packages", _at_once(package_lines)),
        Check("left-overs", "left-overs", _at_once(lambda: [left_over_line(variables)])),
    ]
    lines = [*await carried_out(asked, seconds=15), *await carried_out(known)]
    return sorted(lines, key=lambda line: _AREAS.index(line.area))


def doctor_command(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    api_processes: Annotated[
        int, typer.Option(help="Processes of the API, over all machines: its --workers.", min=0)
    ] = 1,
    worker_processes: Annotated[
        int,
        typer.Option(help="Processes of the worker, over all machines.", min=0, envvar="HOLDFAST_WORKER_PROCESSES"),
    ] = 1,
) -> None:
    """Check settings, database, Temporal, workers and Stripe; say of each fault what to do. Exit code 1 with faults."""
    lines = asyncio.run(examined(installation(os.environ), processes=api_processes + worker_processes))
    healthy = all(line.state is not State.FAULT for line in lines)
    if as_json:
        print(json.dumps({"ok": healthy, "lines": [line.as_json() for line in lines]}, indent=2))
    else:
        show(lines)
    raise typer.Exit(0 if healthy else 1)


def _at_once(look: Callable[[], Iterable[Line]]) -> Callable[[], Awaitable[list[Line]]]:
    async def looked() -> list[Line]:
        return list(look())

    return looked
