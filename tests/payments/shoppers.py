"""Shoppers with a will of their own: each visit is one checkout, and what becomes of it follows from the dice."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random
from typing import Any

import httpx
import stripe
from temporalio.service import RPCError

from tests.payments.market import LIFE_SECONDS, PLENTIFUL, PRICES, SCARCE, Market
from tests.stack import SHOP

PAGES = {"successUrl": "https://shop.example/paid", "cancelUrl": "https://shop.example/cart"}
OPENED_BY = "opened_by"
"""Metadata that tells a payment which the shop opened itself from those of Holdfast."""
_UNKNOWN = frozenset({202, 429, 503, 504})
_PATIENCE = 20


@dataclass
class Visit:
    """One checkout, as its shopper and the shop see it."""

    market: Market
    dice: Random
    hold_id: str
    line: dict[str, Any]
    session: str
    """The page to pay on; empty where the shop opens its own."""
    deadline: datetime
    capture: str = "automatic"
    reference: str | None = None
    """The order, which a hold that replaces this one has too."""

    async def pay(self, how: str = "card", *, page: str | None = None, late: str = "no") -> bool:
        """Pay on the page; False where it is closed."""
        return await self._do(f"/sessions/{page or self.session}/pay", how=how, late=late)

    async def pay_intent(self, intent: str, how: str = "card") -> bool:
        """Pay a PaymentIntent that the shop opened itself."""
        return await self._do(f"/payment_intents/{intent}/pay", how=how)

    async def authenticate(self, *, ok: bool) -> bool:
        """Pass 3-D Secure, or fail to."""
        return await self._do(f"/payment_intents/{self.intent}/authenticate", ok=ok)

    async def settle(self, *, ok: bool, intent: str | None = None) -> bool:
        """Let the money of a debit or a voucher come, or not."""
        return await self._do(f"/payment_intents/{intent or self.intent}/settle", ok=ok)

    async def fund(self, amount: int) -> bool:
        """Let a part of a bank transfer arrive."""
        return await self._do(f"/payment_intents/{self.intent}/fund", amount=amount)

    async def expire(self, page: str) -> bool:
        """Expire a page, as the shop's own code does; False where it is paid."""
        return await self._do(f"/sessions/{page}/expire")

    @property
    def intent(self) -> str:
        """The page's PaymentIntent: Stripe makes it when the shopper first tries to pay."""
        return self.market.stripe.account.store.sessions[self.session].payment_intent or "none"

    async def _do(self, path: str, **body: Any) -> bool:
        # A connection of its own: one kept alive may be closed just when it is used again.
        browser = self.market.stripe.browser
        answer = await browser.post(f"/_simulator{path}", json=body, headers={"Connection": "close"})
        self.market.note(self.hold_id, f"{path} {body}: {answer.status_code}")
        return answer.status_code == 200

    async def get_unreadable_signals(self) -> None:
        """Let somebody send signals to the hold in the Temporal UI, without data or with what nothing can read."""
        run = self.market.deployment.run_of(self.hold_id)
        for signal in ("payment_succeeded", "payment_failed", "payment_processing"):
            with suppress(RPCError):  # it has ended, or Temporal is away
                await run.signal(signal, args=self.dice.choice(([], [{}], ["please"], [1, 2])))

    async def pause(self, longest: float = 1.0) -> None:
        """Think about it."""
        await asyncio.sleep(self.dice.uniform(0, longest))

    async def until_the_deadline(self) -> None:
        """Wait for the moment at which the hold ends, or one shortly before or after it."""
        left = (self.deadline - datetime.now(UTC)).total_seconds()
        await asyncio.sleep(max(0.0, left + self.dice.uniform(-0.5, 1.0)))

    async def until_ended(self) -> None:
        """Wait until the hold has ended."""
        await self.market.until_ended(self.hold_id)

    async def another_takes_the_rest(self) -> None:
        """Let another shopper buy all that is left, if it is scarce and the shop answers."""
        sku, http = self.line["sku"], self.market.deployment.http
        if sku not in SCARCE:
            return
        with suppress(httpx.TransportError):
            found = await http.get("/api/inventory/items", params={"shopId": SHOP, "sku": sku})
            left = found.json()["items"][0]["quantity"] if found.status_code == 200 else 0
            if left:
                other = replace(self, hold_id=f"takes-the-rest-before-{self.hold_id}")
                body = {"shopId": SHOP, "holdId": other.hold_id, "items": [{"sku": sku, "quantity": left}]}
                made = await http.post("/api/inventory/holds", json=body | {"ttlSeconds": LIFE_SECONDS})
                if made.status_code == 201:
                    await other.end("commit")

    async def own_intent(self, *, named: bool = True) -> str:
        """Open a PaymentIntent past Holdfast."""
        params: Any = {
            "amount": self.line["unitAmount"] * self.line["quantity"],
            "currency": self.line["currency"],
            "capture_method": self.capture,
            "metadata": self._metadata(named=named),
        }
        return await self._opened(self.market.stripe.stripe.v1.payment_intents.create_async, params)

    async def own_page(self, *, named: bool = True) -> str:
        """Open a Checkout Session past Holdfast."""
        price = {
            "currency": self.line["currency"],
            "unit_amount": self.line["unitAmount"],
            "product_data": {"name": self.line["name"]},
        }
        metadata = self._metadata(named=named)
        params: Any = {
            "mode": "payment",
            "line_items": [{"quantity": self.line["quantity"], "price_data": price}],
            "success_url": PAGES["successUrl"],
            "metadata": metadata,
            "payment_intent_data": {"metadata": metadata, "capture_method": self.capture},
        }
        return await self._opened(self.market.stripe.stripe.v1.checkout.sessions.create_async, params)

    def _metadata(self, *, named: bool) -> dict[str, str]:
        metadata = {OPENED_BY: "the shop"}
        return metadata | {"inventory_reservation_id": self.hold_id, "shop_id": SHOP} if named else metadata

    async def _opened(self, create: Callable[[Any], Awaitable[Any]], params: Any) -> str:
        while True:
            try:
                opened = await create(params)
            except stripe.StripeError:
                await self.pause()
            else:
                self.market.note(self.hold_id, f"the shop opened {opened.id}")
                return str(opened.id)

    async def attach(self, *, replace: bool = False, **named: str) -> bool:
        """Make a payment of the shop's own the hold's."""
        return await self.call("payment", {**named, "replace": replace}, _PATIENCE) == 200

    @property
    def path(self) -> str:
        """The hold's path in the API."""
        return f"/api/inventory/holds/{SHOP}/{self.hold_id}"

    async def signal_without_data(self, name: str) -> None:
        """Send a signal without data to the hold's workflow, as a person can from the Temporal UI."""
        with suppress(RPCError):  # the hold has ended
            await self.market.deployment.run_of(self.hold_id).signal(name)
        self.market.note(self.hold_id, f"signal {name} without data")

    async def end(self, verb: str, patience: int = _PATIENCE) -> None:
        """Commit or release the hold in the name of the shop; what it commits was paid elsewhere."""
        if verb == "commit":
            self.market.told.sold_by_shop.add(self.hold_id)
        await self.call(verb, {"paidElsewhere": True} if verb == "commit" else None, patience)

    async def come_to_the_success_page(self) -> None:
        """Let the shop's success page commit the hold: it is sold only if it is paid."""
        await self.call("commit", None, 1)

    async def call(self, verb: str, body: object, patience: int) -> int:
        """Ask the API about the hold; 0 where it never said what is."""
        path = f"{self.path}/{verb}"
        answer = await ask(self.market, self.dice, self.hold_id, path, body, patience=patience)
        if answer is None:
            return 0
        hear(self.market, self.hold_id, answer)
        return answer.status_code


Will = Callable[[Visit], Awaitable[object]]


@dataclass(frozen=True)
class Wish:
    """What a shopper wants, and how many of them do."""

    will: Will
    share: int
    currencies: tuple[str, ...] = ("eur",)
    fields: dict[str, Any] = field(default_factory=dict)
    opens_page: bool = True
    free: bool = False
    scarce: float = 0.3
    """How likely it is about something scarce."""

    @property
    def name(self) -> str:
        """What the hold's id begins with."""
        return self.will.__name__.replace("_", "-")


async def visit(market: Market, dice: Random, wish: Wish, number: int, crowd: asyncio.TaskGroup) -> None:
    """Make one checkout, and leave what follows to the crowd."""
    hold_id = f"{wish.name}-{number}"
    sku = dice.choice(SCARCE if dice.random() < wish.scarce else PLENTIFUL)
    currency = dice.choice(wish.currencies)
    amount = 0 if wish.free else PRICES[currency]
    line = {"sku": sku, "quantity": dice.randint(1, 2), "name": sku, "unitAmount": amount, "currency": currency}
    reference = f"order-{hold_id}"
    body: dict[str, Any] = {"shopId": SHOP, "holdId": hold_id, "ttlSeconds": LIFE_SECONDS, "reference": reference}
    if wish.opens_page:
        path, body = "/api/checkout/sessions", body | {"items": [line], **PAGES, **wish.fields}
    else:
        path, body = "/api/inventory/holds", body | {"items": [{"sku": sku, "quantity": line["quantity"]}]}
    answer = await ask(market, dice, hold_id, path, body)
    if answer is not None and answer.status_code == 409 and answer.json()["error"] == "insufficient_stock":
        body["items"][0]["sku"] = line["sku"] = dice.choice(PLENTIFUL)
        answer = await ask(market, dice, hold_id, path, body)
    if answer is None:
        return  # there may be a hold: it ends by itself
    hear(market, hold_id, answer)
    made = answer.json()
    if answer.status_code not in (200, 201) or made["status"] != "active":
        return
    page = made.get("checkoutSessionId") or ""
    if wish.opens_page and not page:
        return
    market.told.checkouts += 1
    deadline = datetime.fromisoformat(made["expiresAt"])
    capture = wish.fields.get("captureMethod", "automatic")
    crowd.create_task(_follow(wish, Visit(market, dice, hold_id, line, page, deadline, capture, reference)))


async def _follow(wish: Wish, visit: Visit) -> None:
    await wish.will(visit)


async def ask(
    market: Market,
    dice: Random,
    hold_id: str,
    path: str,
    body: object,
    *,
    patience: int = _PATIENCE,
    method: str = "POST",
    key: str | None = None,
) -> httpx.Response | None:
    """Ask until there is an answer that says what is; None when patience ends first."""
    headers = {} if key is None else {"Idempotency-Key": key}
    for _ in range(patience):
        try:
            answer = await market.deployment.http.request(method, path, json=body, headers=headers)
        except httpx.TransportError as error:
            market.told.answers["none"] += 1
            market.note(hold_id, f"{path}: {error!r}")
        else:
            market.told.answers[str(answer.status_code)] += 1
            market.note(hold_id, f"{path}: {answer.status_code} {answer.text[:200]}")
            if answer.status_code in (200, 201, 409):
                return answer
            if answer.status_code not in _UNKNOWN:
                market.told.offences.append(f"{hold_id} {path}: {answer.status_code} {answer.text}")
                return None
        await asyncio.sleep(dice.uniform(0.1, 0.6))
    return None


def hear(market: Market, hold_id: str, answer: httpx.Response) -> None:
    """Remember how the hold has ended, where the answer says so."""
    status = answer.json().get("status")
    if status in ("committed", "released", "expired"):
        market.told.ends[hold_id].add(status)
