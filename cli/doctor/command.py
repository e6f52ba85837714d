"""`holdfast doctor`: checks everything that Holdfast needs, and prints a fix for each fault."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from importlib.metadata import version
from typing import Annotated

import typer

from cli.doctor import stripe
from cli.doctor.api import check_api
from cli.doctor.certificates import check_certificates
from cli.doctor.clocks import name_own_clock
from cli.doctor.database import check_database, unknown_database
from cli.doctor.mail import check_mail_server
from cli.doctor.packages import check_packages
from cli.doctor.results import Check, CheckResult, causes_only, has_fault, run_checks, show
from cli.doctor.settings import check_left_overs, check_process_settings, check_settings, read
from cli.doctor.settings import worker_processes as worker_processes_of
from cli.doctor.temporal import check_temporal
from cli.installation import installation
from core.settings import TASK_QUEUE

_AREAS = ("settings", "database", "temporal", "stripe", "api", "alerts", "certificates", "packages", "left-overs")
_LIMIT_SECONDS = 20.0


async def diagnose(
    variables: Mapping[str, str],
    *,
    processes: int = 2,
    task_queue: str = TASK_QUEUE,
    now: Callable[[], float] = time.time,
) -> list[CheckResult]:
    """Check the installation of these environment variables. Returns within some 20 s, even if servers do not answer.

    `processes` is the number of API and worker processes that share the database; `now` is this machine's clock.
    """
    environment = read(variables)
    release = version("holdfast")

    async def database() -> list[CheckResult]:
        if not environment.database_known:
            return unknown_database()
        return await check_database(environment.settings, processes, now)

    remote = [
        Check("database", "database", database),
        Check(
            "temporal",
            "temporal",
            lambda: check_temporal(
                variables,
                environment.settings.temporal_api_key,
                task_queue=task_queue,
                release=release,
                search_by_sku=environment.settings.search_by_sku,
                reconciles=environment.settings.stripe_api_key is not None,
                now=now,
            ),
        ),
        Check("stripe", "key works", lambda: stripe.check_key(environment)),
        Check("api", "api", lambda: check_api(environment, release)),
        Check("certificates", "certificates", lambda: check_certificates(environment)),
        Check("alerts", "mail server", lambda: check_mail_server(environment.settings)),
    ]
    local = [
        Check("settings", "settings", _async(lambda: check_settings(environment))),
        Check("settings", "processes", _async(lambda: check_process_settings(variables))),
        Check("stripe", "keys", _async(lambda: stripe.check_key_modes(environment))),
        Check("stripe", "webhook secret", _async(lambda: [stripe.check_webhook_secret(environment)])),
        Check("packages", "packages", _async(check_packages)),
        Check("left-overs", "left-overs", _async(lambda: [check_left_overs(variables)])),
    ]
    # One after the other: an import that blocks this process would look like a slow clock.
    results = [*await run_checks(remote, _LIMIT_SECONDS), *await run_checks(local)]
    by_cause = causes_only(name_own_clock(results))
    return sorted(by_cause, key=lambda result: _AREAS.index(result.area))


def doctor_command(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    faults_only: Annotated[bool, typer.Option("--faults", help="Print the faults only.")] = False,
    api_processes: Annotated[
        int, typer.Option(help="The number of API processes on all machines: machines times --workers.", min=0)
    ] = 1,
    worker_processes: Annotated[
        int | None,
        typer.Option(
            help="The number of worker processes on all machines. Default: HOLDFAST_WORKER_PROCESSES, else 1.", min=0
        ),
    ] = None,
) -> None:
    """Check settings, servers, workers, Stripe and mail; print faults with their fixes first. Exit code 1 with a fault.

    What follows from a fault is no fault of its own: it is printed with the cause that it follows from.
    """
    variables = installation(os.environ)
    workers = worker_processes_of(variables) if worker_processes is None else worker_processes
    results = asyncio.run(diagnose(variables, processes=api_processes + workers))
    show(results, as_json=as_json, faults_only=faults_only)
    raise typer.Exit(1 if has_fault(results) else 0)


def _async(check: Callable[[], Iterable[CheckResult]]) -> Callable[[], Awaitable[list[CheckResult]]]:
    async def run() -> list[CheckResult]:
        return list(check())

    return run
