"""Ends of a hold and what happens in their midst, for the tests of both."""

import asyncio
from typing import Any

import pytest

from dev.harness.invariants import assert_stock_adds_up
from payments.events import HANDLED_EVENT_TYPES
from tests.paying import LINE, Shop, brief_checkout
from tests.waiting import until

Made = dict[str, Any]
BRIEF = 2
"""Seconds. Who must pay before that asks for `paid_checkout`."""


async def fault(shop: Shop, on: str, effect: str, match: str, **fields: Any) -> str:
    rule: str = (await shop.stripe.control("/faults", on=on, effect=effect, match=match, **fields))["id"]
    return rule


async def at_expire(shop: Shop, effect: str, **fields: Any) -> str:
    """Have something happen to our call that closes the page."""
    return await fault(shop, "api", effect, "checkout.sessions.expire", **fields)


async def lose_webhooks(shop: Shop) -> None:
    await fault(shop, "webhook", "drop", "*", times=None)


async def checkout(shop: Shop, ending: str, seconds: int = BRIEF, **fields: Any) -> Made:
    """Make a hold that is to end in this way: one that a deadline ends gets a near one."""
    if ending == "deadline":
        hold_id, session_id = await brief_checkout(shop, seconds=seconds, **fields)
        return {"holdId": hold_id, "checkoutSessionId": session_id}
    return await shop.checkout(**fields)


async def paid_checkout(shop: Shop, ending: str, how: str = "card", **fields: Any) -> Made:
    """Make such a hold, paid before it ends: a deadline that comes earlier waits for Stripe's word until then."""
    gate = await fault(shop, "api", "delay", "checkout.sessions.retrieve", seconds=3600, times=None)
    made = await checkout(shop, ending, **fields)
    await shop.pay(made["checkoutSessionId"], how)
    await shop.stripe.control(f"/faults/{gate}", "DELETE")
    return made


def end(shop: Shop, made: Made, ending: str) -> "asyncio.Task[Any]":
    """Bring the end about: ask for it, or leave it to the deadline."""

    async def ask() -> None:
        if ending == "release":
            await shop.stack.post(made["holdId"], "release", {"reason": "gone home"})

    return asyncio.create_task(ask())


async def fired(shop: Shop, rule: str) -> None:
    async def is_so() -> bool:
        return any(each["id"] == rule and each["fired"] for each in await shop.stripe.control("/faults", "GET"))

    await until(is_so, "the fault has fired")


async def sold_once(shop: Shop, made: Made, *, reason: str = "payment") -> None:
    """Wait until the hold is sold and paid; check stock and books."""
    hold = await shop.until_status(made["holdId"], "committed")
    await shop.stack.run_of(made["holdId"]).result()

    async def captured() -> bool:
        return bool((await shop.stripe.books(made["checkoutSessionId"]))["net"] == LINE["unitAmount"])

    await until(captured, "the money is captured")
    assert hold["reason"] == reason
    assert await shop.stock() == (9, 0)
    await assert_stock_adds_up(shop.stack.engine)


async def given_back(shop: Shop, made: Made, ending: str) -> None:
    """Wait until the hold has ended as asked for; check that nobody can pay and nobody has."""
    status, reason = {"deadline": ("expired", "deadline"), "release": ("released", "gone home")}[ending]
    assert (await shop.until_status(made["holdId"], status))["reason"] == reason
    await shop.stack.run_of(made["holdId"]).result()
    assert await shop.stock() == (10, 0)
    session = await shop.stripe.stripe.v1.checkout.sessions.retrieve_async(made["checkoutSessionId"])
    assert (session.status, session.payment_status) == ("expired", "unpaid")
    await assert_stock_adds_up(shop.stack.engine)


ENDINGS = pytest.mark.parametrize("ending", ["deadline", "release"])


async def only(shop: Shop, *kinds: str) -> None:
    """Have the simulator send no other webhooks than these; for the rest of the test."""
    for kind in HANDLED_EVENT_TYPES - set(kinds):
        await shop.stripe.control("/faults", on="webhook", effect="drop", match=kind, times=None)


def counted(shop: Shop, kind: str, result: str) -> float:
    """Return how often an event of that type had that result."""
    return shop.stack.counted("inventory_stripe_event", type=kind, result=result)
