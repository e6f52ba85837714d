"""`holdfast smoke`: an end-to-end checkout against a running API, on a shop reserved for it."""

import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from types import FrameType
from typing import Annotated

import typer
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.table import Table

from cli.installation import api_origin, installation
from cli.smoke.client import ApiAccess, SmokeClient
from cli.smoke.periodic import PeriodicSmoke
from cli.smoke.scenario import run_scenario
from cli.smoke.steps import SmokeResult
from core.logging import configure_logging
from core.metrics_server import serve_metrics
from core.payment_settings import is_live_key
from core.secret_files import with_secret_files
from core.setting_errors import SettingsError
from core.setting_values import split_url

METRICS_PORT = 9465


class AccessError(Exception):
    """The API's address or a token is missing or invalid. The message names the variable to set."""


def read_access(variables: Mapping[str, str]) -> ApiAccess:
    """Return the API's address and credentials from environment variables. Raises AccessError.

    Of a comma-separated list of tokens or secrets the first is used.
    """
    origin = api_origin(variables)
    if origin is None:
        raise AccessError("no API address: set INVENTORY_AUTHORITY_URL, use --url, or start `holdfast up`")
    try:
        split_url(origin, "https", "http")
    except ValueError as error:
        raise AccessError(f"INVENTORY_AUTHORITY_URL (--url): {error}") from None
    names = ("INVENTORY_AUTHORITY_TOKEN", "INVENTORY_ADMIN_TOKEN", "STRIPE_WEBHOOK_SECRET", "STRIPE_API_KEY")
    try:
        values = with_secret_files(variables, names)
    except SettingsError as error:
        raise AccessError(str(error)) from None
    authority, admin, secret, key = (values.get(name, "").partition(",")[0].strip() for name in names)
    if not admin:
        raise AccessError("INVENTORY_ADMIN_TOKEN is not set; the smoke test needs it to set stock")
    return ApiAccess(origin, authority or admin, admin, secret or None, live_key=is_live_key(key))


def smoke_command(
    *,
    url: Annotated[
        str | None,
        typer.Option(help="The API's URL. Default: INVENTORY_AUTHORITY_URL, else a running `holdfast up`."),
    ] = None,
    with_expiry: Annotated[
        bool, typer.Option("--with-expiry", help="Also wait for a hold to expire, 30 seconds longer.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    every: Annotated[
        int | None,
        typer.Option(help="Run it again and again, this many seconds apart, and serve /metrics.", min=10, max=86_400),
    ] = None,
    metrics_port: Annotated[
        int, typer.Option(help="The port of /metrics, with --every.", min=0, max=65_535)
    ] = METRICS_PORT,
) -> None:
    """Run a checkout on the reserved shop `holdfast-smoke`, then clean up. Exit code 1 when a step fails.

    Creates, pays, commits, releases and refuses holds. Needs INVENTORY_ADMIN_TOKEN and INVENTORY_AUTHORITY_TOKEN, and
    STRIPE_WEBHOOK_SECRET to pay by a signed webhook.
    """
    environment = {**os.environ, "INVENTORY_AUTHORITY_URL": url} if url else os.environ
    try:
        access = read_access(installation(environment))
    except AccessError as error:
        print(f"holdfast smoke: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    result = SmokeResult()
    signal.signal(signal.SIGTERM, _interrupt)
    if every is not None:
        _run_every(every, metrics_port, access, with_expiry=with_expiry)
        return
    interrupted = False
    try:
        with access.connect() as http:
            run_scenario(SmokeClient(http, access), result, with_expiry=with_expiry)
    except KeyboardInterrupt:
        interrupted = True
        result.not_checked.append("Interrupted: the remaining steps were not run.")
    _print(result, as_json=as_json)
    raise typer.Exit(130 if interrupted else 0 if result.ok else 1)


def _run_every(seconds: int, port: int, access: ApiAccess, *, with_expiry: bool) -> None:
    """Run until SIGTERM or Ctrl-C. Exit code 2 if the port is taken."""
    configure_logging(os.environ.get("HOLDFAST_LOG_FORMAT") or "auto")
    registry = CollectorRegistry()
    smoke = PeriodicSmoke(access, seconds, registry, with_expiry=with_expiry)
    try:
        serve_metrics(port, "0.0.0.0", registry)  # noqa: S104 - Prometheus runs on another machine
    except OSError as error:
        print(f"holdfast smoke: --metrics-port {port}: {error.strerror or error}", file=sys.stderr)
        raise typer.Exit(2) from None
    with suppress(KeyboardInterrupt):
        smoke.run()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Make SIGTERM clean up like Ctrl-C."""
    raise KeyboardInterrupt


def _print(result: SmokeResult, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result.as_json(), indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("", "step"):
        table.add_column(heading)
    table.add_column("ms", justify="right")
    table.add_column("", overflow="fold")
    for step in result.steps:
        table.add_row("✓" if step.ok else "✗", step.name, f"{step.milliseconds:.1f}", step.found)
    console = Console(highlight=False, markup=False, width=max(100, Console().width))
    console.print(table)
    for line in result.not_checked:
        console.print(line)
    console.print("The checkout works." if result.ok else "The checkout does not work: see ✗.")
