"""The `holdfast` command."""

import os
from pathlib import Path
from typing import Annotated

import typer

from cli.migrate import migrate_command

app = typer.Typer(no_args_is_help=True, help="Inventory holds for checkouts.")
app.command("migrate")(migrate_command)


@app.command("up")
def up_command(
    *, reset: Annotated[bool, typer.Option("--reset", help="Delete the state of earlier runs first.")] = False
) -> None:
    """Run the whole product on this machine; Ctrl-C stops it. State is kept in HOLDFAST_HOME (.holdfast)."""
    from cli.up import up  # noqa: PLC0415 - needs the extra `up`, which no other command does

    raise typer.Exit(up(Path(os.environ.get("HOLDFAST_HOME") or ".holdfast"), reset=reset))


if __name__ == "__main__":
    app()
