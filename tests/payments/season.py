"""A season of the market: shoppers come until enough checkouts are made; then all is settled and reckoned up."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

from dev.harness.invariants import assert_stock_adds_up
from tests.payments.market import Market, dice
from tests.payments.reconciliation import Books, Wrong, assert_stock_is_what_was_sold, story, unheard
from tests.payments.shoppers import visit
from tests.payments.wishes import WISHES
from tests.waiting import until

_AT_THE_DOOR = 8
_TOLD_IN_FULL = 5
SETTLE_SECONDS = 200.0
"""Deadlines and graces (30 to 70 s), a minute until a killed worker's call is missed, pauses between attempts.

That is 100 s, and as long again for a busy machine.
"""


async def go_shopping(market: Market, seed: int, checkouts: int, saboteur: Coroutine[Any, Any, int]) -> int:
    """Return once so many checkouts are made, their shoppers have gone, and every hold has ended; how many kills."""
    numbers = count(1)

    async def come(door: int, crowd: asyncio.TaskGroup) -> None:
        chance = dice(seed, door)
        while market.told.checkouts < checkouts:
            (wish,) = chance.choices(WISHES, [wish.share for wish in WISHES])
            await visit(market, dice(seed, door, chance.random()), wish, next(numbers), crowd)

    async with asyncio.TaskGroup() as crowd:
        striking = crowd.create_task(saboteur)
        for door in range(_AT_THE_DOOR):
            crowd.create_task(come(door, crowd))
    strikes = striking.result()

    async def all_ended() -> bool:
        return not await market.active_holds()

    await until(all_ended, "every hold has ended, in bad weather", SETTLE_SECONDS)
    return strikes


async def end_the_season(market: Market, seed: int, strikes: int, say: Callable[[str], None]) -> None:
    """Clear the weather, wait until nothing is left to do, and check all of it."""
    faults = Counter(f"{rule['on']} {rule['effect']}" for rule in await _fired(market) for _ in range(rule["fired"]))
    await market.stripe.control("/faults", "DELETE")
    busy = await market.until_quiet(SETTLE_SECONDS)
    resent = await _send_again_what_nobody_heard(market)
    returned = await _let_refunds_fail(market, seed)
    busy = busy or await market.until_quiet(SETTLE_SECONDS)
    found = (await Books.read(market)).reckon()
    rows = {
        "checkouts": f"{market.told.checkouts}, of {len(market.told.stories)} asked for; {strikes} kills",
        "payments": _counts(found.payments),
        "holds": _counts(found.holds),
        "late payments": _counts(await market.late_outcomes()),
        "refunds sent back": str(len(returned)),
        "never heard of": f"{resent} payments, until their webhooks were sent again",
        "faults": _counts(faults),
        "answers": _counts(market.told.answers),
        "wrong": _counts(Counter(wrong.what for wrong in found.wrong)) or "nothing",
        "under way": ", ".join(busy) or "nothing",
    }
    say("\n".join(f"  {name:18} {text}" for name, text in rows.items()) + "\n")
    unended = [
        Wrong("its workflow has not ended", name.rpartition(":")[2]) for name in busy if name.startswith("hold:")
    ]
    for wrong in (unended + found.wrong)[:_TOLD_IN_FULL]:
        say(await story(market, wrong))

    assert busy == []
    assert found.wrong == []
    assert market.told.offences == []
    assert await market.deployment.failed_runs() == []
    assert set(returned) <= set(await market.open_cases())
    await assert_stock_adds_up(market.deployment.engine)
    await assert_stock_is_what_was_sold(market)


async def _fired(market: Market) -> list[dict[str, Any]]:
    faults: list[dict[str, Any]] = await market.stripe.control("/faults", "GET")
    return faults


async def _send_again_what_nobody_heard(market: Market) -> int:
    """Send the lost webhooks of payments of which no word ever came, as a person does from Stripe's dashboard.

    They came when their hold had ended, or past Holdfast: nothing would ever look at them. Of a hold's own payment
    no webhook is needed, so whatever else is wrong stays so.
    """
    lost: list[Wrong] = [
        wrong for wrong in (await Books.read(market)).reckon().wrong if wrong.payment and unheard(market, wrong)
    ]
    for wrong in lost:
        for delivery in unheard(market, wrong):
            await market.stripe.control("/webhooks/resend", event=delivery.event.id)
    if lost:
        await market.until_quiet(SETTLE_SECONDS)
    return len(lost)


async def _let_refunds_fail(market: Market, seed: int) -> list[str]:
    """Let the bank send back the money of some refunds; return the payments."""
    refunds = [refund for refund in market.stripe.account.store.refunds.values() if refund.status == "succeeded"]
    chosen = dice(seed, "refunds").sample(refunds, min(3, len(refunds)))
    for refund in chosen:
        await market.stripe.control(f"/refunds/{refund.id}/settle", ok=False)
    await market.until_quiet(SETTLE_SECONDS)
    return [refund.payment_intent for refund in chosen]


def _counts(counted: Counter[str]) -> str:
    return " · ".join(f"{name} {number}" for name, number in counted.most_common())
