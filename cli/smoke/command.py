"""`holdfast smoke`: a checkout from end to end on a running Holdfast, on a shop that sells nothing."""

import json
import os
import signal
import sys
from collections.abc import Mapping
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.installation import api_origin, installation
from cli.smoke.shop import Access
from cli.smoke.steps import Notes
from cli.smoke.story import smoke
from core.secret_files import with_secret_files
from core.setting_errors import SettingsError


class NoAccessError(Exception):
    """It is not known which API to ask, or with what. The message says what to set."""


def access_from(variables: Mapping[str, str]) -> Access:
    """Return what the environment says of the API. Raises NoAccessError."""
    origin = api_origin(variables)
    if origin is None:
        raise NoAccessError("INVENTORY_AUTHORITY_URL is not set, no --url given, and no `holdfast up` runs here")
    names = ("INVENTORY_AUTHORITY_TOKEN", "INVENTORY_ADMIN_TOKEN", "STRIPE_WEBHOOK_SECRET")
    try:
        given = with_secret_files(variables, names)
    except SettingsError as error:
        raise NoAccessError(str(error)) from None
    authority, admin, secret = (given.get(name, "").partition(",")[0].strip() for name in names)
    if not admin:
        raise NoAccessError("INVENTORY_ADMIN_TOKEN is not set: stock is put for the checkout, and taken away again")
    return Access(origin, authority or admin, admin, secret or None)


def smoke_command(
    *,
    url: Annotated[str | None, typer.Option(help="The API; otherwise INVENTORY_AUTHORITY_URL, or `make up`.")] = None,
    with_expiry: Annotated[
        bool, typer.Option("--with-expiry", help="Let a hold expire too, which takes half a minute.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check out on the shop `holdfast-smoke`: hold, pay, commit, release, refuse. Cleans up; exit code 1 on a failure.

    Needs INVENTORY_ADMIN_TOKEN and INVENTORY_AUTHORITY_TOKEN; STRIPE_WEBHOOK_SECRET to pay by a signed webhook.
    """
    given = {**os.environ, "INVENTORY_AUTHORITY_URL": url} if url else os.environ
    try:
        access = access_from(installation(given))
    except NoAccessError as error:
        print(f"holdfast smoke: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    notes = Notes()
    signal.signal(signal.SIGTERM, _as_ctrl_c)
    try:
        smoke(access, notes, with_expiry=with_expiry)
    except KeyboardInterrupt:
        notes.said.append("Interrupted: the steps that were left were not taken.")
        _show(notes, as_json=as_json)
        raise typer.Exit(130) from None
    _show(notes, as_json=as_json)
    raise typer.Exit(0 if notes.ok else 1)


def _as_ctrl_c(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _show(notes: Notes, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(notes.as_json(), indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("", "step"):
        table.add_column(heading)
    table.add_column("ms", justify="right")
    table.add_column("", overflow="fold")
    for step in notes.steps:
        table.add_row("✓" if step.ok else "✗", step.name, f"{step.milliseconds:.1f}", step.found)
    console = Console(highlight=False, markup=False, width=max(100, Console().width))
    console.print(table)
    for line in notes.said:
        console.print(line)
    console.print("The checkout works." if notes.ok else "The checkout does not work: see ✗.")
