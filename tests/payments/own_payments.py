"""Payments that the shop opens itself, past Holdfast, for the tests of several files."""

from datetime import datetime, timedelta
from typing import Any

import httpx

from tests.paying import Shop
from tests.stack import SHOP
from tests.waiting import until

PRICE = {"currency": "eur", "unit_amount": 1999, "product_data": {"name": "T-shirt"}}


async def made(shop: Shop) -> str:
    """Make a hold that has no payment yet."""
    hold: dict[str, Any] = await shop.stack.made((shop.item, 1))
    return str(hold["holdId"])


async def own_session(shop: Shop, *, amount: int = 1999, metadata: dict[str, str] | None = None, **data: Any) -> str:
    """Open a session as the shop's own code does; without metadata nothing in it names a hold."""
    wanted: Any = {
        "mode": "payment",
        "success_url": "https://shop.example/paid",
        "line_items": [{"quantity": 1, "price_data": {**PRICE, "unit_amount": amount}}],
        "metadata": metadata or {},
        "payment_intent_data": {"metadata": metadata or {}, **data},
    }
    return (await shop.stripe.stripe.v1.checkout.sessions.create_async(wanted)).id


async def own_intent(shop: Shop, metadata: dict[str, str] | None = None, **fields: Any) -> str:
    wanted: Any = {"amount": 1999, "currency": "eur", "metadata": metadata or {}, **fields}
    return (await shop.stripe.stripe.v1.payment_intents.create_async(wanted)).id


async def attach(
    shop: Shop,
    hold_id: str,
    payment_id: str,
    shop_id: str = SHOP,
    http: httpx.AsyncClient | None = None,
    *,
    replace: bool = False,
) -> httpx.Response:
    name = "checkoutSessionId" if payment_id.startswith("cs_") else "paymentIntentId"
    path = f"/api/inventory/holds/{shop_id}/{hold_id}/payment"
    return await (http or shop.stack.http).post(path, json={name: payment_id, "replace": replace})


async def attached(shop: Shop, hold_id: str, payment_id: str) -> dict[str, Any]:
    answer = await attach(shop, hold_id, payment_id)
    assert answer.status_code == 200, answer.text
    hold: dict[str, Any] = answer.json()
    return hold


async def pay_intent(shop: Shop, intent: str, how: str = "card") -> None:
    await shop.stripe.control(f"/payment_intents/{intent}/pay", how=how)


async def session_status(shop: Shop, session_id: str) -> str:
    opened = await shop.stripe.control("/sessions", "GET")
    return str(next(each["status"] for each in opened if each["session"] == session_id))


async def settle(shop: Shop, intent: str, *, ok: bool) -> None:
    """End a payment that is processing."""
    await shop.stripe.control(f"/payment_intents/{intent}/settle", ok=ok)


async def until_it_expires_at(shop: Shop, hold_id: str, moment: str) -> None:
    async def is_so() -> bool:
        return bool((await shop.stack.read(hold_id))["expiresAt"] == moment)

    await until(is_so, f"{hold_id} expires at {moment}")


async def until_it_waits_longer(shop: Shop, hold_id: str, than: str) -> None:
    async def is_so() -> bool:
        expires_at = datetime.fromisoformat((await shop.stack.read(hold_id))["expiresAt"])
        return expires_at > datetime.fromisoformat(than) + timedelta(days=1)

    await until(is_so, f"{hold_id} waits longer")
