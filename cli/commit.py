"""`holdfast holds commit`: sell an active hold."""

from typing import Annotated

import typer

from cli.actor import actor
from cli.amend import item_lines
from cli.connections import Connections, require_shop_id, run
from cli.holds import JsonOption, OneShopOption, print_json
from core.settings import TASK_QUEUE
from domain.holds import HoldKey
from holds.committing import CommitService
from holds.hold_json import HoldOut
from holds.service import HoldService
from holds.workflow_client import WorkflowClient
from payments.accounts import open_accounts
from workflows.messages import Commit

_COMMAND = "holds commit"


def commit_command(
    hold_id: Annotated[str, typer.Argument(help="The hold's id.")],
    *,
    shop: OneShopOption,
    item: Annotated[
        list[str] | None,
        typer.Option("--item", help="SKU=UNITS or SKU/VARIANT=UNITS: sell only these units and give the others back."),
    ] = None,
    paid_elsewhere: Annotated[
        bool,
        typer.Option("--paid-elsewhere", help="You were paid in another way: sell it, and close its Stripe payment."),
    ] = False,
    reason: Annotated[str, typer.Option(help="Why; it is kept with the hold.")] = "committed_by_operator",
    as_json: JsonOption = False,
) -> None:
    """Sell a hold. One with a payment that Stripe does not call made is sold only with --paid-elsewhere.

    Exit code: 0 if the hold is sold; 1 if it is not, for example because its payment is not made; 2 if the command
    could not be run, or Stripe did not answer.
    """
    key = HoldKey(require_shop_id("holds", shop), hold_id)
    lines = item_lines(_COMMAND, item) if item else None
    message = Commit(actor=actor(), reason=reason, items=lines, paid_elsewhere=paid_elsewhere)
    run(_COMMAND, _commit(key, message, as_json=as_json))


async def _commit(key: HoldKey, message: Commit, *, as_json: bool) -> int:
    async with Connections(_COMMAND) as connections, open_accounts(connections.settings) as accounts:
        workflows = WorkflowClient(connections.temporal, TASK_QUEUE)
        holds = HoldService(connections.engine, workflows, connections.settings)
        hold = await CommitService(holds, workflows, connections.settings, accounts).commit(key, message)
    if as_json:
        print_json(HoldOut.of(hold).model_dump(mode="json", by_alias=True))
        return 0
    by = f", bought by {hold.bought_by.id}" if hold.bought_by else ", paid elsewhere" if hold.paid_elsewhere else ""
    print(f"{key.shop_id} {key.hold_id}: {hold.status}{by}.")
    if hold.sold is not None:
        sold = ", ".join(f"{line.quantity} x {line.sku} {line.variant_key}".rstrip() for line in hold.sold)
        print(f"Sold {sold}; the rest was given back.")
    return 0
