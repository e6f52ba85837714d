"""The `holdfast` command."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cli.alerts import app as alerts_app
from cli.audit import audit_command
from cli.doctor.command import doctor_command
from cli.holds import app as holds_app
from cli.migrate import migrate_command
from cli.report.command import report_command
from cli.serve import serve
from cli.smoke.command import smoke_command
from cli.stock import app as stock_app

app = typer.Typer(no_args_is_help=True, help="Inventory holds for checkouts.")
app.command("migrate")(migrate_command)
app.command("audit")(audit_command)
app.add_typer(stock_app, name="stock")
app.add_typer(holds_app, name="holds")
app.add_typer(alerts_app, name="alerts")
app.command("doctor")(doctor_command)
app.command("smoke")(smoke_command)
app.command("report")(report_command)


@app.command("api")
def api_command(
    *,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", envvar="HOLDFAST_API_PORT")] = 8000,
    workers: Annotated[int, typer.Option(help="Processes that serve.", min=1)] = 1,
) -> None:
    """Serve the HTTP API. Its /metrics covers all its processes."""
    raise typer.Exit(serve(host, port, workers))


@app.command("up")
def up_command(
    *, reset: Annotated[bool, typer.Option("--reset", help="Delete the state of earlier runs first.")] = False
) -> None:
    """Run the whole product on this machine; Ctrl-C stops it. State is kept in HOLDFAST_HOME (.holdfast)."""
    try:
        from dev.up import up  # noqa: PLC0415 - needs the extra `up`, which no other command does
    except ModuleNotFoundError as error:
        print(f"holdfast up: {error.name} is missing; install it with: pip install 'holdfast[up]'", file=sys.stderr)
        raise typer.Exit(1) from None
    raise typer.Exit(up(Path(os.environ.get("HOLDFAST_HOME") or ".holdfast"), reset=reset))


if __name__ == "__main__":
    app()
