"""`holdfast up`: the whole product on this machine. It needs `dev/`, which is not in the wheel nor in the image."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer


def up_command(
    *, reset: Annotated[bool, typer.Option("--reset", help="Delete the state of earlier runs first.")] = False
) -> None:
    """Run the whole product on this machine; Ctrl-C stops it. State is kept in HOLDFAST_HOME (.holdfast)."""
    try:
        from dev.up import up  # noqa: PLC0415 - not in the wheel
    except ModuleNotFoundError as error:
        complaint = f"holdfast up: {error.name} is not installed; run `make up` in a checkout of the repository"
        print(complaint, file=sys.stderr)
        raise typer.Exit(1) from None
    raise typer.Exit(up(Path(os.environ.get("HOLDFAST_HOME") or ".holdfast"), reset=reset))
