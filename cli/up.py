"""`holdfast up`: the whole product on this machine. What it runs is in `dev`, which the production image lacks."""

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer


def up_command(
    *, reset: Annotated[bool, typer.Option("--reset", help="Delete the state of earlier runs first.")] = False
) -> None:
    """Run the whole product on this machine; Ctrl-C stops it. State is kept in HOLDFAST_HOME (.holdfast)."""
    try:
        up = import_module("dev.up").up
    except ModuleNotFoundError as error:
        print(f"holdfast up: {error.name} is missing; install it with: pip install 'holdfast[up]'", file=sys.stderr)
        raise typer.Exit(1) from None
    raise typer.Exit(up(Path(os.environ.get("HOLDFAST_HOME") or ".holdfast"), reset=reset))
