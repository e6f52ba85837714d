"""`holdfast holds archive`: moves old ended holds into the archive table."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.console import Console

from cli.connections import Connections, fail, require_shop_id, run
from cli.exit_codes import ExitCode
from cli.unknown_shop import unknown_shop
from inventory.archive import archive_holds

LEAST_DAYS = 7
"""Longer than requests are retried, and than Stripe retries an event (three days)."""
_DAYS = re.compile(r"([1-9][0-9]{0,4})d")


def archive_command(
    *,
    older_than: Annotated[str, typer.Option(help="Days since the hold ended, as 90d; at least 7d.")],
    shop: Annotated[str | None, typer.Option(help="Only this shop.", envvar="HOLDFAST_SHOP")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Move ended holds into the table InventoryHoldArchive, in small batches that do not block checkouts.

    It may be interrupted and run again. An archived hold can still be read and found, but a repeat of its create makes
    a new one and no return is booked on it: choose an age above your longest time for returns and disputes.
    """
    days = _DAYS.fullmatch(older_than)
    if days is None or int(days[1]) < LEAST_DAYS:
        fail(
            "holds archive", f"--older-than {older_than!r} is not allowed: must be days as 90d, at least {LEAST_DAYS}d"
        )
    if shop is not None:
        require_shop_id("holds archive", shop)
    before = datetime.now(UTC) - timedelta(days=int(days[1]))
    run("holds archive", _archive(before, shop, as_json=as_json))


async def _archive(before: datetime, shop: str | None, *, as_json: bool) -> int:
    console, total = Console(stderr=True, highlight=False), 0
    async with Connections("holds archive") as connections:
        with console.status("Archiving ...", spinner="line") as status:
            async for moved in archive_holds(connections.engine, before=before, shop_id=shop):
                total += moved
                status.update(f"Archiving ... {total} holds so far; Ctrl-C is safe")
        if not total and (message := await unknown_shop(connections.engine, shop, "holds")) is not None:
            fail("holds archive", message, ExitCode.NEGATIVE)
    if as_json:
        print(json.dumps({"archived": total, "before": f"{before:%Y-%m-%dT%H:%M:%SZ}"}))
    else:
        print(f"{total} holds that ended before {before:%Y-%m-%d %H:%M} UTC are archived.")
    return 0
