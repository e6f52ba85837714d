"""What shoppers want whose cart changes: the hold is changed, paid later, or exchanged for another."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

import httpx

from tests.payments.market import LIFE_SECONDS
from tests.payments.shoppers import PAGES, Visit, Wish, ask, hear
from tests.stack import SHOP


async def change(v: Visit, quantity: int, sku: str | None = None) -> int:
    """Change the cart; the page to pay on is closed then. Returns the status of the answer, 0 without one."""
    sku = sku or v.line["sku"]
    body = {"items": [{"sku": sku, "quantity": quantity}]}
    answer = await ask(v.market, v.dice, v.hold_id, v.path, body, method="PATCH", key=_key(v))
    return _heard(v, answer, quantity, sku)


async def open_page(v: Visit, quantity: int, sku: str | None = None) -> bool:
    """Ask for another page, with other items in the same step where they differ. Returns whether it was opened."""
    sku = sku or v.line["sku"]
    body = {"items": [{**v.line, "sku": sku, "quantity": quantity}], **PAGES, "captureMethod": v.capture}
    answer = await ask(v.market, v.dice, v.hold_id, f"{v.path}/checkout", body, key=_key(v))
    if _heard(v, answer, quantity, sku) not in (200, 201) or answer is None:
        return False
    v.session = answer.json()["checkoutSessionId"]
    return True


async def exchange(v: Visit) -> Visit | None:
    """Replace the hold by another of the same order. Returns the visit that goes on, None where that failed."""
    new = replace(v, hold_id=f"{v.hold_id}-exchanged", line=dict(v.line))
    body: dict[str, Any] = {"shopId": SHOP, "holdId": new.hold_id, "reference": v.reference, "replace": True, **PAGES}
    body |= {"items": [v.line], "ttlSeconds": LIFE_SECONDS, "captureMethod": v.capture}
    answer = await ask(v.market, v.dice, new.hold_id, "/api/checkout/sessions", body)
    if answer is None:
        return None
    told = answer.json()
    if answer.status_code == 409:
        hear(v.market, told.get("holdId") or new.hold_id, answer)
        if told["error"] == "insufficient_stock" and await _is_active(v):
            v.market.told.offences.append(f"{v.hold_id} lost its units in an exchange: {answer.text}")
        return None
    hear(v.market, new.hold_id, answer)
    new.session = told["checkoutSessionId"] or ""
    return new if new.session else None


def _key(v: Visit) -> str:
    return f"{v.hold_id}-{v.dice.random()}"


def _heard(v: Visit, answer: httpx.Response | None, quantity: int, sku: str) -> int:
    if answer is None:
        return 0
    hear(v.market, v.hold_id, answer)
    if answer.status_code in (200, 201):
        v.line |= {"quantity": quantity, "sku": sku, "name": sku}
    return answer.status_code


async def _is_active(v: Visit) -> bool:
    with suppress(httpx.TransportError):
        found = await v.market.deployment.http.get(v.path)
        return found.status_code == 200 and found.json()["status"] == "active"
    return False


async def changes_the_cart_and_pays(v: Visit) -> None:
    """The page with the old items is closed before the change; the shopper pays on a new one."""
    await v.pause()
    await change(v, v.dice.randint(1, 3), v.dice.choice((None, "MUG")))
    if await open_page(v, v.line["quantity"]):
        await v.pay(v.dice.choice(("card", "card", "card", "declined")))


async def changes_the_cart_with_its_page_and_pays(v: Visit) -> None:
    for _ in range(v.dice.randint(1, 2)):
        await open_page(v, v.dice.randint(1, 3), v.dice.choice((None, "MUG")))
    await v.pay()


async def changes_the_cart_and_pays_on_the_old_page_too(v: Visit) -> None:
    """What was in flight lands on the page that was closed; it is for other items than the hold has now."""
    old = v.session
    if await open_page(v, v.line["quantity"] % 3 + 1):
        await v.pause(2)
        await v.pay(page=old, late=v.dice.choice(("complete", "expired")))
        if v.dice.random() < 0.6:
            await v.pay()


async def changes_the_cart_while_paying(v: Visit) -> None:
    changing = v.dice.choice((change, open_page))(v, v.line["quantity"] % 3 + 1)
    await asyncio.gather(*v.dice.sample([v.pay(), changing], 2))
    await v.pay()  # on the page that was opened, if there is one


async def changes_the_cart_twice_at_once(v: Visit) -> None:
    await asyncio.gather(change(v, 1), change(v, 3))
    if await open_page(v, 2):
        await v.pay()


async def changes_the_cart_and_gives_back_at_once(v: Visit) -> None:
    await asyncio.gather(*v.dice.sample([change(v, 3), v.end("release")], 2))


async def changes_the_cart_at_the_deadline(v: Visit) -> None:
    await v.until_the_deadline()
    await change(v, 3)


async def changes_the_cart_beside_the_shops_own_intent(v: Visit) -> None:
    """While it can be paid, the change is refused, and the intent pays for the units that the hold has."""
    intent = await v.own_intent()
    if not await v.attach(paymentIntentId=intent):
        return
    if await change(v, 3) == 200:
        v.market.told.offences.append(f"{v.hold_id} was changed beside a payment that could be made")
    await v.pay_intent(intent)


async def opens_a_page_later_and_pays(v: Visit) -> None:
    if await open_page(v, v.line["quantity"]):
        await v.pay()


async def exchanges_the_hold_and_pays(v: Visit) -> None:
    new = await exchange(v)
    if new is not None:
        await new.pay()


async def exchanges_the_hold_while_paying(v: Visit) -> None:
    _, new = await asyncio.gather(v.pay(), exchange(v))
    if new is not None:
        await new.pay()


async def exchanges_a_changed_hold_and_leaves(v: Visit) -> None:
    await change(v, 2)
    await exchange(v)


CART_WISHES = (
    Wish(changes_the_cart_and_pays, 6, scarce=0.5),
    Wish(changes_the_cart_with_its_page_and_pays, 5, scarce=0.5),
    Wish(changes_the_cart_and_pays_on_the_old_page_too, 4),
    Wish(changes_the_cart_while_paying, 6),
    Wish(changes_the_cart_twice_at_once, 3),
    Wish(changes_the_cart_and_gives_back_at_once, 3),
    Wish(changes_the_cart_at_the_deadline, 2),
    Wish(changes_the_cart_beside_the_shops_own_intent, 3, opens_page=False),
    Wish(opens_a_page_later_and_pays, 4, opens_page=False),
    Wish(exchanges_the_hold_and_pays, 5, scarce=0.9),
    Wish(exchanges_the_hold_while_paying, 4, scarce=0.9),
    Wish(exchanges_a_changed_hold_and_leaves, 2),
)
