"""`holdfast holds amend`: change an active hold."""

from typing import Annotated, Any

import typer

from cli.actor import actor
from cli.connections import Connections, fail, require_shop_id, run
from cli.holds import JsonOption, OneShopOption, print_json
from cli.stock_run import problems_of
from core.settings import TASK_QUEUE
from domain import fields
from domain.holds import HoldKey, Line
from holds.amending import AmendService, amendment
from holds.hold_json import HoldOut
from holds.service import HoldService
from holds.workflow_client import WorkflowClient
from workflows.messages import Amend

_COMMAND = "holds amend"


def amend_command(
    hold_id: Annotated[str, typer.Argument(help="The hold's id.")],
    *,
    shop: OneShopOption,
    item: Annotated[
        list[str] | None, typer.Option("--item", help="SKU=UNITS or SKU/VARIANT=UNITS; all items of the hold.")
    ] = None,
    reference: Annotated[str | None, typer.Option(help="The order or cart.")] = None,
    buyer: Annotated[str | None, typer.Option(help="Your opaque id of who buys.")] = None,
    key: Annotated[str | None, typer.Option(help="An idempotency key: run again with it, nothing changes.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Change the items, reference or buyer of an active hold, all or nothing. What is left out stays.

    The items are the whole new set. A page of Holdfast with the old items is closed first.
    """
    require_shop_id("holds", shop)
    if not item and reference is None and buyer is None:
        fail(_COMMAND, "name --item, --reference or --buyer")
    lines = item_lines(_COMMAND, item) if item else None
    _require_valid(
        _COMMAND,
        reference=(fields.Identifier | None, reference),
        buyer=(fields.Buyer | None, buyer),
        key=(fields.IdempotencyKey | None, key),
    )
    hold = HoldKey(shop, hold_id)
    change = amendment(hold, key, actor=actor(), lines=lines, reference=reference, buyer=buyer)
    run(_COMMAND, _amend(hold, change, as_json=as_json))


def _require_valid(command: str, **values: tuple[Any, object]) -> None:
    if problems := problems_of(**values):
        fail(command, "; ".join(problems))


def item_lines(command: str, items: list[str]) -> tuple[Line, ...]:
    """Return the lines of the options `--item`, one for each item. Ends the command where one is not valid."""
    demand: dict[tuple[str, str], int] = {}
    for text in items:
        name, _, units = text.rpartition("=")
        sku, _, variant = name.partition("/")
        if not (sku and units.isascii() and units.isdecimal() and 0 < int(units[:8]) <= fields.MAX_UNITS):
            fail(command, f"--item {text!r} must be SKU=UNITS or SKU/VARIANT=UNITS, with 1 to {fields.MAX_UNITS} units")
        _require_valid(command, sku=(fields.Sku, sku), variant=(fields.VariantKey, variant))
        demand[sku, variant] = demand.get((sku, variant), 0) + int(units)
    return tuple(Line(sku, variant, units) for (sku, variant), units in sorted(demand.items()))


async def _amend(key: HoldKey, change: Amend, *, as_json: bool) -> int:
    async with Connections(_COMMAND) as connections:
        workflows = WorkflowClient(connections.temporal, TASK_QUEUE)
        holds = HoldService(connections.engine, workflows, connections.settings)
        amendments = AmendService(connections.engine, holds, workflows, connections.settings)
        amended = await amendments.amend(key, change)
    if as_json:
        hold = HoldOut.of(amended.hold).model_dump(mode="json", by_alias=True)
        print_json({**hold, "closedCheckoutSessionId": amended.closed_session})
        return 0
    lines = ", ".join(f"{line.quantity} x {line.sku} {line.variant_key}".rstrip() for line in amended.hold.lines)
    print(f"{key.shop_id} {key.hold_id}: {lines}.")
    if amended.closed_session is not None:
        print(f"The page {amended.closed_session} was closed; the shopper needs a new one.")
    return 0
