"""A market for shoppers at random: the product as processes, a Stripe in bad weather, and what everybody was told."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

from core.database import DatabaseUnavailableError, fetch
from dev.simulator.webhooks import Delivery
from tests.e2e.deployment import Deployment
from tests.simulated import API_KEY, SECRET, Simulated
from tests.stack import SHOP
from workflows.late_payment import LatePaymentWorkflow

LIFE_SECONDS = 30
"""How long every hold lives: the shortest that the API takes, so that deadlines pass while the market is open."""
PLENTIFUL = ("CAP", "MUG", "TEE")
SCARCE = tuple(f"RARE-{number}" for number in range(25))
"""Whoever pays late for one of these may find that another has it."""
ON_HAND = {**dict.fromkeys(PLENTIFUL, 50_000), **dict.fromkeys(SCARCE, 6)}
PRICES = {"eur": 1999, "usd": 2099, "jpy": 3000, "mxn": 39_900, "brl": 11_900}
"""Of one unit. The currency decides which methods the page offers."""

_GRACE_SECONDS = 35

_SLOW = {"on": "api", "effect": "delay", "times": None, "seconds": 0.2, "up_to": 3}
_FAILS = {"on": "api", "effect": "error", "times": None, "match": "*"}
_HANGS = {"on": "api", "effect": "timeout", "times": None, "seconds": 30}
WEATHER: tuple[dict[str, Any], ...] = (
    # The shopper pays while the page is being closed, or the payment was in flight and lands on the closed page.
    {"on": "api", "effect": "pay", "match": "checkout.sessions.expire", "times": None, "share": 0.08},
    {"on": "api", "effect": "pay", "match": "checkout.sessions.expire", "times": None, "share": 0.05, "when": "after"},
    {"on": "api", "effect": "pay", "match": "payment_intents.cancel", "times": None, "share": 0.1},
    # A 500 is kept under its idempotency key, and half of them have done what was asked.
    {**_FAILS, "when": "after", "share": 0.04},
    {**_FAILS, "when": "before", "share": 0.03},
    {**_FAILS, "when": "before", "share": 0.02, "stored": False, "status": 503},
    {**_FAILS, "when": "before", "share": 0.01, "stored": False, "status": 429, "code": "rate_limit"},
    {**_HANGS, "when": "after", "share": 0.008},
    {**_HANGS, "when": "before", "share": 0.005},
    {**_SLOW, "share": 0.03},
    {"on": "webhook", "effect": "duplicate", "times": None, "share": 0.12, "copies": 2, "seconds": 0, "up_to": 2},
    {"on": "webhook", "effect": "reorder", "times": None, "share": 0.1, "seconds": 3},
    {"on": "webhook", "effect": "delay", "times": None, "share": 0.1, "seconds": 0.2, "up_to": 8},
    {"on": "webhook", "effect": "delay", "times": None, "share": 0.02, "seconds": LIFE_SECONDS, "up_to": 45},
    {"on": "webhook", "effect": "drop", "times": None, "share": 0.08},
)
"""What goes wrong at Stripe and on the way from there. The first rule that fires is the only one."""


@dataclass
class Told:
    """What the shoppers wanted and have been told; what they were told must turn out true."""

    stories: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """What the shopper did, by the hold's id, which begins with what the shopper wanted."""
    ends: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """How a hold has ended, in each answer that said so."""
    sold_by_shop: set[str] = field(default_factory=set)
    """The holds that the shop itself asked to commit."""
    answers: Counter[str] = field(default_factory=Counter)
    offences: list[str] = field(default_factory=list)
    """Answers that nobody should ever get."""
    checkouts: int = 0
    """Holds that were acknowledged as active."""


@dataclass
class Market:
    """What shoppers and the final reckoning hold."""

    deployment: Deployment
    stripe: Simulated
    told: Told = field(default_factory=Told)
    ended: dict[str, str] = field(default_factory=dict)
    """The holds that have ended, and how, as the database last said."""
    _opened: float = field(default_factory=time.monotonic)

    def note(self, hold_id: str, what: str) -> None:
        """Add a line to the story of a hold."""
        self.told.stories[hold_id].append(f"{time.monotonic() - self._opened:6.1f} s  {what}")

    async def until_ended(self, hold_id: str) -> None:
        """Wait until the hold has ended, for as long as the market is open."""
        while hold_id not in self.ended:
            await asyncio.sleep(0.1)

    async def until_quiet(self, seconds: float) -> list[str]:
        """Wait until every webhook is answered, every hold has ended, and only cases that want a person are open.

        Returns what was still under way when the seconds were over.
        """
        give_up = time.monotonic() + seconds
        quiet = 0
        while quiet < 2:  # a webhook between two looks starts new work
            busy = [f"{each.event.type} of {each.event.chain}: {each.state}" for each in self.undelivered()]
            busy = busy or await self.active_holds() or await self._busy_workflows()
            if busy and time.monotonic() > give_up:
                return busy
            quiet = 0 if busy else quiet + 1
            await asyncio.sleep(0.3)
        return []

    def undelivered(self) -> list[Delivery]:
        """Return the webhooks that are on their way, copies included."""
        return [each for each in self.stripe.account.webhooks.deliveries if _on_its_way(each)]

    async def active_holds(self) -> list[str]:
        """Return the ids of holds that have not ended."""
        rows = await fetch(self.deployment.engine, _ACTIVE, {"shop": SHOP})
        return [row["id"] for row in rows]

    async def open_cases(self) -> list[str]:
        """Return the ids of late payments whose workflow runs."""
        query = "WorkflowType = 'LatePaymentWorkflow' AND ExecutionStatus = 'Running'"
        runs = [run.id async for run in self.deployment.temporal.list_workflows(query)]
        return [run.removeprefix("late-payment:") for run in runs]

    async def late_outcomes(self) -> Counter[str]:
        """Return how the late payments' workflows that have ended did."""
        query = "WorkflowType = 'LatePaymentWorkflow' AND ExecutionStatus = 'Completed'"
        outcomes: Counter[str] = Counter()
        async for run in self.deployment.temporal.list_workflows(query):
            handle = self.deployment.temporal.get_workflow_handle_for(
                LatePaymentWorkflow.run, run.id, run_id=run.run_id
            )
            outcomes[(await handle.result()).outcome] += 1
        return outcomes

    async def _busy_workflows(self) -> list[str]:
        temporal = self.deployment.temporal
        holds = "WorkflowType = 'HoldWorkflow' AND ExecutionStatus = 'Running'"
        busy = [run.id async for run in temporal.list_workflows(holds)]
        for payment in await self.open_cases():
            case = temporal.get_workflow_handle(f"late-payment:{payment}")
            if not await case.query(LatePaymentWorkflow.waits_for_person):
                busy.append(case.id)
        return busy

    async def watch(self) -> None:
        """Keep `ended` up to date until cancelled."""
        while True:
            with suppress(DatabaseUnavailableError):
                rows = await fetch(self.deployment.engine, _ENDED, {"shop": SHOP})
                self.ended.update({row["id"]: row["status"] for row in rows})
            await asyncio.sleep(0.3)


_ACTIVE = """SELECT id FROM "InventoryHold" WHERE "shopId" = %(shop)s AND status = 'active'"""
_ENDED = """SELECT id, status FROM "InventoryHold" WHERE "shopId" = %(shop)s AND status <> 'active'"""


def _on_its_way(delivery: Delivery) -> bool:
    if delivery.state != "delivered" or delivery.fault is None or delivery.fault.effect != "duplicate":
        return delivery.state not in ("delivered", "dropped")
    return len(delivery.answers) - delivery.answers.index(200) <= delivery.fault.copies


def at(stripe: Simulated) -> Mapping[str, str]:
    """Return the environment of a product whose payments are made there."""
    methods = ("boleto", "customer_balance", "konbini", "oxxo", "sepa_debit", "us_bank_account", "default")
    return {
        "STRIPE_API_KEY": API_KEY,
        "STRIPE_API_BASE": stripe.url,
        "STRIPE_WEBHOOK_SECRET": SECRET,
        "PAYMENT_GRACE_SECONDS": ",".join(f"{method}={_GRACE_SECONDS}" for method in methods),
    }


@asynccontextmanager
async def open_market(deployment: Deployment, stripe: Simulated) -> AsyncIterator[Market]:
    """Stock the shop, point Stripe's webhooks at it, and let the weather begin."""
    endpoint = {"url": f"{deployment.http.base_url}/api/webhooks/stripe", "secrets": [SECRET]}
    await stripe.control("/webhooks/endpoints", "PUT", endpoints=[endpoint])
    items = [{"sku": sku, "onHand": on_hand} for sku, on_hand in ON_HAND.items()]
    answer = await deployment.http.put("/api/inventory/items", json={"shopId": SHOP, "items": items})
    assert answer.status_code == 200, answer.text
    for fault in WEATHER:
        await stripe.control("/faults", **fault)
    market = Market(deployment, stripe)
    watching = asyncio.create_task(market.watch())
    try:
        yield market
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def dice(*seed: float | str) -> Random:
    """Return dice that fall the same way for the same seed."""
    return Random("/".join(map(str, seed)))  # noqa: S311 - nothing secret
