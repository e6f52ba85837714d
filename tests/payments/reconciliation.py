"""The final reckoning: what became of each payment's money and each hold's stock, and the story of what is wrong."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.service import RPCError

from core.database import fetch
from dev.harness.stock import stock_of
from tests.payments.market import ON_HAND, PRICES, Market
from tests.payments.shoppers import OPENED_BY
from tests.stack import SHOP
from workflows.messages import hold_workflow_id
from workflows.payment_messages import late_payment_workflow_id

_HOLDS = """
SELECT id, status, reason, "paymentIntentId" AS intent, "paymentSessionId" AS session, "paidElsewhere" AS elsewhere,
       (SELECT sum(quantity) FROM "InventoryHoldItem" l WHERE l."shopId" = h."shopId" AND l."holdId" = h.id) AS units
FROM "InventoryHold" h WHERE "shopId" = %(shop)s
"""

_SOLD = """
SELECT l.sku, sum(l.quantity) AS units FROM "InventoryHoldItem" l
JOIN "InventoryHold" h ON h."shopId" = l."shopId" AND h.id = l."holdId"
WHERE h."shopId" = %(shop)s AND h.status = 'committed' GROUP BY l.sku
"""


@dataclass
class Wrong:
    """What does not add up about one payment or hold."""

    what: str
    hold_id: str
    payment: str | None = None


@dataclass
class Reckoning:
    """Every payment by its ending, every hold by its end, and what is wrong."""

    payments: Counter[str] = field(default_factory=Counter)
    holds: Counter[str] = field(default_factory=Counter)
    wrong: list[Wrong] = field(default_factory=list)


class Books:
    """Holds by the database, money by Stripe, open cases by Temporal; read once."""

    def __init__(self, market: Market, holds: Iterable[dict[str, Any]], payments: list[Any], cases: list[str]) -> None:
        self._market = market
        self._holds = {hold["id"]: hold for hold in holds}
        self._by_payment = {name: hold["id"] for hold in holds for name in (hold["intent"], hold["session"]) if name}
        self._payments = payments
        self._cases = set(cases)

    @classmethod
    async def read(cls, market: Market) -> "Books":
        holds = [dict(row) for row in await fetch(market.deployment.engine, _HOLDS, {"shop": SHOP})]
        payments = await market.stripe.control("/payments", "GET")
        return cls(market, holds, payments, await market.open_cases())

    def reckon(self) -> Reckoning:
        """Judge each payment, each hold and each page."""
        found = Reckoning()
        for payment in self._payments:
            ending, wrong = self._judge(payment)
            found.payments[ending] += 1
            if wrong is not None:
                found.wrong.append(Wrong(wrong, self._hold_of(payment), payment["payment_intent"]))
        for hold in self._holds.values():
            found.holds[f"{hold['status']}: {hold['reason']}"] += 1
            found.wrong += [Wrong(wrong, hold["id"]) for wrong in self._judge_hold(hold)]
        return found

    def _hold_of(self, payment: dict[str, Any]) -> str:
        named = payment["metadata"].get("inventory_reservation_id")
        attached = self._by_payment.get(payment["payment_intent"]) or self._by_payment.get(payment["session"])
        return str(named or attached)

    def _bought(self, payment: dict[str, Any], hold: dict[str, Any]) -> bool:
        if hold["status"] != "committed" or hold["elsewhere"]:
            return False
        return hold["intent"] == payment["payment_intent"] or (
            hold["intent"] is None and hold["session"] is not None and hold["session"] == payment["session"]
        )

    def _judge(self, payment: dict[str, Any]) -> tuple[str, str | None]:
        """Return the payment's ending, and what is wrong with it."""
        hold = self._holds.get(self._hold_of(payment))
        bought = hold is not None and self._bought(payment, hold)
        sold_by_shop = hold is not None and hold["id"] in self._market.told.sold_by_shop
        ending, wrong = self._ending(payment)
        if ending == "captured":
            ending += " and committed" if bought else ", and bought nothing"
            wrong = wrong or (None if bought else ending)
        elif bought and not (ending == "not captured" and sold_by_shop):
            wrong = wrong or f"the hold is sold to it, and it is {ending}"
        if bought and hold is not None and not sold_by_shop and payment["captured"]:
            wrong = wrong or _paid_for_others(payment, hold["units"])
        return ending, wrong

    def _ending(self, payment: dict[str, Any]) -> tuple[str, str | None]:
        if payment["capturable"]:
            return "authorised", "the money is still reserved"
        if payment["captured"] == 0:
            return "not captured", None
        if payment["net"] == 0:
            return "refunded", None
        if payment["payment_intent"] in self._cases:
            return "open case", None
        return "captured", None if payment["net"] == payment["amount"] else "a part of it was given back"

    def _judge_hold(self, hold: dict[str, Any]) -> Iterable[str]:
        buyers = [p["payment_intent"] for p in self._payments if p["net"] and self._bought(p, hold)]
        sessions = [
            s for s in self._market.stripe.account.store.sessions.values() if _holdfasts(s.metadata, hold["id"])
        ]
        if hold["status"] == "active":
            yield "it has not ended"
        if hold["status"] == "committed":
            free = any(session.status == "complete" and session.amount_total == 0 for session in sessions)
            if len(buyers) != 1 and not free and hold["id"] not in self._market.told.sold_by_shop:
                yield f"it is sold, to {buyers or 'nobody'}"
        elif any(session.status == "open" for session in sessions):
            yield "its stock was given back and its page is open"
        if (pages := sum(session.status == "open" for session in sessions)) > 1:
            yield f"it has {pages} open pages"
        if (told := self._market.told.ends.get(hold["id"], set())) - {hold["status"]} - _late(hold):
            yield f"its shopper was told {told}"


def _paid_for_others(payment: dict[str, Any], units: int) -> str | None:
    """Return what is wrong where the money was not for the units that the hold sold: a changed cart has a new page."""
    price = PRICES[payment["currency"]]
    return None if payment["amount"] == units * price else f"{payment['amount'] / price:g} units paid, {units} sold"


def _holdfasts(metadata: dict[str, str], hold_id: str) -> bool:
    return metadata.get("inventory_reservation_id") == hold_id and OPENED_BY not in metadata


def _late(hold: dict[str, Any]) -> set[str]:
    """Return how a hold had ended before a late payment bought it."""
    return {"released", "expired"} if hold["reason"] == "late_payment" else set()


async def assert_stock_is_what_was_sold(market: Market) -> None:
    """Check the stock against the holds, by sums of our own."""
    engine = market.deployment.engine
    units = {row["sku"]: row["units"] for row in await fetch(engine, _SOLD, {"shop": SHOP})}
    for sku, on_hand in ON_HAND.items():
        assert await stock_of(engine, sku) == (on_hand - units.get(sku, 0), 0), sku


async def story(market: Market, wrong: Wrong) -> str:
    """Return all that is known of a payment or hold that is wrong."""
    rows = [dict(row) for row in await fetch(market.deployment.engine, _HOLDS, {"shop": SHOP})]
    row = next((row for row in rows if row["id"] == wrong.hold_id), None)
    intents = [
        intent
        for intent in market.stripe.account.store.intents.values()
        if intent.id == wrong.payment or intent.metadata.get("inventory_reservation_id") == wrong.hold_id
    ]
    names = {wrong.hold_id, *(intent.id for intent in intents), *(intent.session or intent.id for intent in intents)}
    names |= {name for name in ((row or {}).get("intent"), (row or {}).get("session")) if name}
    told = (
        f"{call.operation} {call.path} key={call.idempotency_key} -> {call.status}"
        f"{' replayed' if call.replayed else ''} {call.fault or ''}"
        for call in market.stripe.account.calls
        if any(name in f"{call.path} {call.idempotency_key}" for name in names)
    )
    sent = (
        f"{each.event.type} {each.event.object.get('id')} {each.state} {each.answers}"
        f" {each.fault.effect if each.fault else ''}"
        for each in market.stripe.account.webhooks.deliveries
        if names & {each.event.chain, str(each.event.object.get("id"))}
    )
    temporal = market.deployment.temporal
    runs = {hold_workflow_id(SHOP, wrong.hold_id), *(late_payment_workflow_id(name) for name in names)}
    histories = [f"{run}:\n{lines}" for run in sorted(runs) if (lines := await _history(temporal, run))]
    return "\n".join(
        [
            f"\n*** {wrong.hold_id} {wrong.payment or ''}: {wrong.what}",
            f"row: {row}",
            *(f"{intent.id} {intent.status} of {intent.session}" for intent in intents),
            "shopper:",
            *market.told.stories[wrong.hold_id],
            "calls:",
            *told,
            "webhooks:",
            *sent,
            *histories,
        ]
    )


async def _history(temporal: Client, run: str) -> str:
    try:
        history = await temporal.get_workflow_handle(run).fetch_history()
    except RPCError:
        return ""
    return "\n".join(f"  {_line(event)}" for event in history.events if event.event_type not in _BORING)


_BORING = {5, 6, 7}
"""Workflow tasks that were scheduled, started and done."""


def _line(event: HistoryEvent) -> str:
    kind = event.WhichOneof("attributes") or ""
    text = str(getattr(event, kind)).replace("\n", " ") if kind else ""
    seconds = f"{event.event_time.ToDatetime():%H:%M:%S.%f}"[:-3]
    return f"{seconds} {kind.removesuffix('_event_attributes')} {json.dumps(' '.join(text.split()))[:400]}"
