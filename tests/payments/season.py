"""A season of the market: shoppers come until enough checkouts are made; then all is settled and reckoned up."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from core.settings import TASK_QUEUE, Settings
from dev.harness.invariants import assert_stock_adds_up
from holds.payment_reconciliation import PaymentReconciler
from holds.payments_service import PaymentsService
from holds.service import HoldService
from holds.workflow_client import WorkflowClient
from payments.accounts import open_accounts
from tests.payments.market import Market, at, dice
from tests.payments.reconciliation import Books, Wrong, assert_stock_is_what_was_sold, story
from tests.payments.shoppers import visit
from tests.payments.wishes import WISHES
from tests.stack import environment
from tests.waiting import until
from workflows.payment_reconciliation import ReconcileWindow

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
    found_late = await _reconcile(market)
    returned = await _let_refunds_fail(market, seed)
    busy = busy or await market.until_quiet(SETTLE_SECONDS)
    found = (await Books.read(market)).reckon()
    rows = {
        "checkouts": f"{market.told.checkouts}, of {len(market.told.stories)} asked for; {strikes} kills",
        "payments": _counts(found.payments),
        "holds": _counts(found.holds),
        "late payments": _counts(await market.late_outcomes()),
        "refunds sent back": str(len(returned)),
        "never heard of": f"{_counts(found_late) or 'no payments'}, until the reconciliation found them",
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
    assert not found.wrong, [*found.wrong]
    assert market.told.offences == []
    assert await market.deployment.failed_runs() == []
    assert set(returned) <= set(await market.open_cases())
    await assert_stock_adds_up(market.deployment.engine)
    await assert_stock_is_what_was_sold(market)


async def _fired(market: Market) -> list[dict[str, Any]]:
    faults: list[dict[str, Any]] = await market.stripe.control("/faults", "GET")
    return faults


async def _reconcile(market: Market) -> Counter[str]:
    """Compare payments with holds as the daily schedule does: it finds those whose every webhook was lost.

    They came when their hold had ended, or past Holdfast: nothing else would ever look at them.
    """
    found: Counter[str] = Counter()
    settings = Settings.read({**environment(market.deployment.database), **at(market.stripe)})
    workflows = WorkflowClient(market.deployment.temporal, TASK_QUEUE)
    holds = HoldService(market.deployment.engine, workflows, settings)
    async with open_accounts(settings) as accounts:
        payments = PaymentsService(market.deployment.engine, holds, workflows, settings, accounts)
        a_day_later = -timedelta(days=1)  # when the page of every free order is past its expiry
        reconciler = PaymentReconciler(
            market.deployment.engine, payments, workflows, accounts, left_to_events=a_day_later
        )
        now = datetime.now(UTC)
        window = ReconcileWindow(now - timedelta(hours=12), now + timedelta(minutes=1))
        while True:
            page = await reconciler.page(window)
            found.update(each.kind for each in page.found)
            if page.next_after is None:
                break
            window = replace(window, after=page.next_after)
    await market.until_quiet(SETTLE_SECONDS)
    return found


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
