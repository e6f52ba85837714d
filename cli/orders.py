"""`holdfast orders`: one story of everything that happened to an order, and its events once more."""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from cli.connections import Connections, require_shop_id, run
from cli.holds import JsonOption, OneShopOption, printable
from core.settings import TASK_QUEUE
from holds.order_json import DeliveryOut, HoldStoryOut, OrderOut, OrderPaymentOut, PaymentEventOut
from holds.orders import OrderService

ReferenceArgument = Annotated[str, typer.Argument(help="The order or cart, as its holds have it.")]


def show_command(reference: ReferenceArgument, *, shop: OneShopOption, as_json: JsonOption = False) -> None:
    """Tell an order's story: its holds, payments, late payments and events."""
    run("orders show", _show(require_shop_id("orders", shop), reference, as_json=as_json))


def resend_command(reference: ReferenceArgument, *, shop: OneShopOption) -> None:
    """Deliver an order's events again, with the ids that they had."""
    run("orders resend", _resend(require_shop_id("orders", shop), reference))


async def _show(shop: str, reference: str, *, as_json: bool) -> int:
    async with Connections("orders show") as connections:
        order = OrderOut.of(await _service(connections).story(shop, reference))
    if as_json:
        print(json.dumps(order.dump()))
        return 0
    console = Console(highlight=False, soft_wrap=True)
    for line in _lines(order):
        console.print(Text(printable(line)))
    return 0


async def _resend(shop: str, reference: str) -> int:
    async with Connections("orders resend") as connections:
        resent = await _service(connections).resend(shop, reference)
    print(f"{resent} events of {reference} are delivered again.")
    return 0


def _service(connections: Connections) -> OrderService:
    return OrderService(connections.engine, connections.temporal, connections.settings, TASK_QUEUE)


def _lines(order: OrderOut) -> Iterable[str]:
    for story in order.holds:
        yield from _of_hold(story)
    for payment in order.payments:
        yield _of_payment(payment)
        yield from map(_of_payment_event, payment.events)
    for case in order.late_payments:
        yield f"late payment {case.payment_id}: {case.state} {case.url}"
    for delivery in order.deliveries:
        yield _of_delivery(delivery)


def _of_hold(story: HoldStoryOut) -> Iterable[str]:
    hold = story.hold
    yield f"hold {hold.hold_id}: {hold.status} {story.workflow_url}"
    for item in hold.items:
        yield f"  {item.quantity} x {item.sku} {item.variant_key}: {item.sold} sold, {item.given_back} given back"
    for change in story.changes:
        by = f" by {change.actor}" if change.actor else ""
        why = "".join(f", {text}" for text in (change.reason, change.detail) if text)
        yield f"  {_time(change.at)} {change.what}{by}{why}"


def _of_payment(payment: OrderPaymentOut) -> str:
    named = payment.payment_intent_id or payment.checkout_session_id
    attempts = f", {payment.failed_attempts} attempts failed" if payment.failed_attempts else ""
    report = f"; last: {payment.last_report}" if payment.last_report else ""
    return (
        f"payment {named} of {payment.hold_id}: {'bought it' if payment.bought else 'did not buy it'}{attempts}{report}"
    )


def _of_payment_event(event: PaymentEventOut) -> str:
    money = "" if event.amount is None else f" {event.amount} {event.currency or ''}".rstrip()
    more = "".join(f", {text}" for text in (event.status, event.reason, event.object_id) if text)
    return f"  {_time(event.occurred_at)} {event.type}{money}{more}"


def _of_delivery(delivery: DeliveryOut) -> str:
    when = f" at {_time(delivery.delivered_at)}" if delivery.delivered_at else ""
    why = f", last failure: {delivery.failure}" if delivery.failure else ""
    state = delivery.state.replace("_", " ")
    return f"event {delivery.type} of {delivery.hold_id}: {state}{when} after {delivery.attempts} attempts{why}"


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"
