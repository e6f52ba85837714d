"""`holdfast holds`: look at holds, give them back, give them more time; one, or all that are active."""

import json
import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from cli.actor import actor
from cli.bulk import extend_all, release_all
from cli.connections import Connections, fail, require_shop_id, run
from cli.exit_codes import ExitCode
from cli.hold_in_temporal import late_payments, workflow_status
from cli.tables import print_whole, whole_table
from cli.unknown_shop import unknown_shop
from core.settings import TASK_QUEUE
from domain.holds import Hold, HoldKey, HoldStatus, LineResult
from holds.hold_json import HoldOut
from holds.service import HoldService
from holds.temporal_ui import holds_url, workflow_url
from holds.workflow_client import WorkflowClient
from inventory.audit import active_holds
from inventory.hold_search import HoldFilter, find_holds, read_archived_hold
from inventory.holds import read_hold
from workflows.messages import Cancel, Extend, hold_workflow_id

ShopOption = Annotated[str | None, typer.Option("--shop", help="The shop.", envvar="HOLDFAST_SHOP")]
OneShopOption = Annotated[str, typer.Option("--shop", help="The shop.", envvar="HOLDFAST_SHOP")]
AllOption = Annotated[bool, typer.Option("--all", help="All active holds, of --shop or of every shop.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]
CREATED_FROM = typer.Option(formats=_TIMES, help="Only created at this time (UTC) or later.")
CREATED_TO = typer.Option(formats=_TIMES, help="Only created before this time (UTC).")
EXPIRES_TO = typer.Option(formats=_TIMES, help="Only with a deadline before this time (UTC).")
HoldArgument = Annotated[str | None, typer.Argument(help="The hold's id.")]


def list_command(
    *,
    shop: OneShopOption,
    status: Annotated[list[HoldStatus] | None, typer.Option(help="Only of this status; may be repeated.")] = None,
    reference: Annotated[str | None, typer.Option(help="Only of this order or cart.")] = None,
    buyer: Annotated[str | None, typer.Option(help="Only of this buyer.")] = None,
    sku: Annotated[str | None, typer.Option(help="Only with this item.")] = None,
    variant: Annotated[str | None, typer.Option(help="With --sku: only of this variant.")] = None,
    payment_intent: Annotated[str | None, typer.Option(help="Only with this PaymentIntent.")] = None,
    checkout_session: Annotated[str | None, typer.Option(help="Only with this Checkout Session.")] = None,
    created_from: Annotated[datetime | None, CREATED_FROM] = None,
    created_to: Annotated[datetime | None, CREATED_TO] = None,
    expires_to: Annotated[datetime | None, EXPIRES_TO] = None,
    archived: Annotated[bool, typer.Option("--archived", help="The archived holds instead.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many, the newest first.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List a shop's holds that fit all filters, newest first."""
    if variant is not None and sku is None:
        fail("holds list", "--variant needs --sku")
    wanted = HoldFilter(
        statuses=tuple(status or ()),
        reference=reference,
        buyer=buyer,
        sku=sku,
        variant_key=variant,
        payment_intent_id=payment_intent,
        checkout_session_id=checkout_session,
        created_from=_in_utc(created_from),
        created_to=_in_utc(created_to),
        expires_to=_in_utc(expires_to),
        archived=archived,
    )
    run("holds list", _list(require_shop_id("holds", shop), wanted, limit, as_json=as_json))


def show_command(
    hold_id: Annotated[str, typer.Argument(help="The hold's id.")],
    *,
    shop: OneShopOption,
    as_json: JsonOption = False,
) -> None:
    """Show one hold: its lines, what it did to the stock, its workflow and where to look at it."""
    run("holds show", _show(require_shop_id("holds", shop), hold_id, as_json=as_json))


def release_command(
    hold_id: HoldArgument = None,
    *,
    shop: ShopOption = None,
    every: AllOption = False,
    yes: YesOption = False,
    reason: Annotated[str, typer.Option(help="Why; it is kept with the hold.")] = "released_by_operator",
    as_json: JsonOption = False,
) -> None:
    """Give a hold's stock back, or that of --all active holds. Payments are closed first; a paid hold stays sold.

    A bulk release may be interrupted: holds that were told end all the same, and the next run tells the others.
    """
    one = _one_or_all(hold_id, shop, every=every)
    cancel = Cancel(actor=actor(), reason=reason)
    if one is not None:
        run("holds release", _release(one[0], one[1], cancel, as_json=as_json))
    _confirm(f"Release all active holds of {shop or 'EVERY shop'}?", yes=yes)
    run("holds release", _bulk(shop, cancel, as_json=as_json))


def extend_command(
    hold_id: HoldArgument = None,
    *,
    seconds: Annotated[int, typer.Option("--ttl", min=1, max=86_400, help="Seconds to add to the deadline.")],
    shop: ShopOption = None,
    every: AllOption = False,
    yes: YesOption = False,
    key: Annotated[
        str | None, typer.Option(help="Names this extension: run again with the same key, no hold is extended twice.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Move a hold's deadline, or those of --all active holds, at most to the end of the longest life."""
    one = _one_or_all(hold_id, shop, every=every)
    if one is not None:
        run("holds extend", _extend(one[0], one[1], Extend(seconds, key, actor=actor()), as_json=as_json))
    if key is None:
        fail("holds extend", "--all needs a --key of your choice, so that it can be interrupted and run again")
    _confirm(f"Extend all active holds of {shop or 'EVERY shop'} by {seconds} s?", yes=yes)
    run("holds extend", _bulk(shop, Extend(seconds, key, actor=actor()), as_json=as_json))


def _in_utc(time: datetime | None) -> datetime | None:
    return None if time is None else time.replace(tzinfo=time.tzinfo or UTC)


async def _list(shop: str, wanted: HoldFilter, limit: int, *, as_json: bool) -> int:
    async with Connections("holds list") as connections:
        page = await find_holds(connections.engine, shop, wanted, limit=limit)
        if not page.holds:
            await _require_known_shop("holds list", connections, shop)
    if as_json:
        print_json({"holds": [_as_json(hold) for hold in page.holds], "more": page.next_after is not None})
        return 0
    headings = ("hold", "status", "items", "reference", "created", "deadline", "reason")
    table = whole_table(headings, texts=("items", "reason"), box=None)
    for hold in page.holds:
        cells = (
            hold.hold_id,
            hold.status,
            _lines(hold),
            hold.reference or "",
            f"{hold.created_at:%m-%d %H:%M:%S}",
            f"{hold.expires_at:%m-%d %H:%M:%S}",
            hold.reason or "",
        )
        table.add_row(*(Text(printable(cell)) for cell in cells))
    print_whole(table)
    if page.next_after is not None:
        print(f"and older ones; --limit shows up to 500, and filters such as --status {HoldStatus.ACTIVE} fewer.")
    ui, namespace = connections.settings.temporal_ui_url, connections.temporal.namespace
    for status in wanted.statuses or HoldStatus:
        print(f"{status:<10} in the Temporal UI: {holds_url(ui, namespace, shop, status)}")
    return 0


async def _show(shop: str, hold_id: str, *, as_json: bool) -> int:
    async with Connections("holds show") as connections:
        hold = await read_hold(connections.engine, shop, hold_id)
        hold = hold or await read_archived_hold(connections.engine, shop, hold_id)
        if hold is None:
            fail("holds show", f"{shop} has no hold {hold_id}", ExitCode.NEGATIVE)
        workflow = await workflow_status(connections, hold.key)
        cases = await late_payments(connections, hold)
    ui, namespace = connections.settings.temporal_ui_url, connections.temporal.namespace
    link = workflow_url(ui, namespace, hold_workflow_id(shop, hold_id))
    if as_json:
        late = [{"paymentId": c.payment_id, "open": c.is_open, "state": c.state, "url": c.url} for c in cases]
        print_json({**_as_json(hold), "workflow": {"status": workflow, "url": link}, "latePayments": late})
        return 0
    console = Console(highlight=False, soft_wrap=True)
    rows = [(name, value) for name, value in _as_json(hold).items() if value is not None and name != "items"]
    rows += [("item", _result(result)) for result in hold.results()]
    rows += [("workflow", workflow), ("Temporal UI", link)]
    rows += [("late payment", f"{case.payment_id}: {case.state} {case.url}") for case in cases]
    for name, value in rows:
        console.print(Text(f"{name:<16} {printable(value)}"))  # in lines of any length, so that a link can be clicked
    return 0


async def _release(shop: str, hold_id: str, cancel: Cancel, *, as_json: bool) -> int:
    async with Connections("holds release") as connections:
        released = await _service(connections).release(HoldKey(shop, hold_id), cancel)
    if as_json:
        print_json(HoldOut.of(released.hold, released.ending).model_dump(mode="json", by_alias=True))
    else:
        print(f"{shop} {hold_id}: {'still ending; it will be released' if released.ending else released.hold.status}.")
    return 0


async def _extend(shop: str, hold_id: str, extend: Extend, *, as_json: bool) -> int:
    async with Connections("holds extend") as connections:
        hold = await _service(connections).extend(HoldKey(shop, hold_id), extend)
    if as_json:
        print_json(_as_json(hold))
    else:
        print(f"{shop} {hold_id}: deadline {hold.expires_at:%Y-%m-%d %H:%M:%S} UTC.")
    return 0


async def _bulk(shop: str | None, message: Cancel | Extend, *, as_json: bool) -> int:
    async with Connections("holds") as connections:
        await _require_known_shop("holds", connections, shop)
        await WorkflowClient(connections.temporal, TASK_QUEUE).check_health()  # else each hold would wait for it
        holds = [hold async for page in active_holds(connections.engine, shop) for hold in page]
        if isinstance(message, Cancel):
            tally = await release_all(_service(connections), connections.engine, holds, message, quiet=as_json)
        else:
            tally = await extend_all(_service(connections), holds, message, quiet=as_json)
    if as_json:
        print_json(tally.as_json())
    else:
        print(tally.sentence())
    return tally.exit_code


async def _require_known_shop(command: str, connections: Connections, shop: str | None) -> None:
    """End the command if the shop has neither items nor holds."""
    if (message := await unknown_shop(connections.engine, shop, "holds")) is not None:
        fail(command, message, ExitCode.NEGATIVE)


def _service(connections: Connections) -> HoldService:
    return HoldService(connections.engine, WorkflowClient(connections.temporal, TASK_QUEUE), connections.settings)


def _one_or_all(hold_id: str | None, shop: str | None, *, every: bool) -> tuple[str, str] | None:
    """Return the one hold that is meant, None for all. Ends the command where neither or both are named."""
    if every == (hold_id is not None):
        fail("holds", "name one hold (and its --shop), or --all")
    if shop is not None:
        require_shop_id("holds", shop)
    if hold_id is None:
        return None
    if shop is None:
        fail("holds", "--shop (or HOLDFAST_SHOP) is missing")
    return shop, hold_id


def _confirm(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        fail("holds", f"{question} Say so with --yes")
    if not typer.confirm(question):
        raise typer.Exit(1)


def _lines(hold: Hold) -> str:
    named = [f"{line.quantity} x {line.sku} {line.variant_key}".rstrip() for line in hold.lines]
    return ", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else "")  # noqa: PLR2004 - a line


def _result(line: LineResult) -> str:
    figures = (("sold", line.sold), ("given back", line.given_back), ("returned", line.restocked))
    told = ", ".join(f"{units} {what}" for what, units in figures if units)
    return f"{line.quantity} x {line.sku} {line.variant_key}".rstrip() + (f" ({told})" if told else "")


def printable(value: object) -> str:
    """Return a caller's text without control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in str(value))


def _as_json(hold: Hold) -> dict[str, Any]:
    told: dict[str, Any] = HoldOut.of(hold).model_dump(mode="json", by_alias=True)
    return told


def print_json(value: object) -> None:
    """Print the value as JSON."""
    print(json.dumps(value, default=str))
