"""When Stripe has a reason to send an event, and none arrives: known from the first on, whatever restarts."""

import asyncio
from collections.abc import Mapping

from core.database import fetch, fetch_on
from inventory.moments import ARRIVING_SECONDS, Moment, note_stripe_event, note_stripe_event_due, read_moments
from tests.paying import Shop, event
from tests.stack import SHOP


async def released(shop: Shop) -> None:
    """Make a hold with a page, and release it, which closes the page in Stripe."""
    hold_id = (await shop.checkout())["holdId"]
    answer = await shop.stack.http.post(f"/api/inventory/holds/{SHOP}/{hold_id}/release", json={})
    assert answer.is_success, answer.text
    await shop.until_status(hold_id, "released")


async def test_an_event_is_overdue_from_the_first_page_that_is_closed_until_one_arrives(shop: Shop) -> None:
    await shop.stripe.control("/faults", on="webhook", effect="hold", match="*", times=None)
    await released(shop)
    first = await read_moments(shop.stack.engine)
    assert first[Moment.STRIPE_EVENT_DUE] > 0 == first[Moment.STRIPE_EVENT]

    await released(shop)
    assert await read_moments(shop.stack.engine) == first

    assert (await shop.send(event("customer.created", {"id": "cus_1"}))).json()["result"] == "ignored"
    heard = await read_moments(shop.stack.engine)
    assert heard[Moment.STRIPE_EVENT] > heard[Moment.STRIPE_EVENT_DUE] == first[Moment.STRIPE_EVENT_DUE]


async def test_an_event_that_arrives_is_not_overdue(shop: Shop) -> None:
    await released(shop)
    await shop.until_delivered()
    noted = await read_moments(shop.stack.engine)
    assert noted[Moment.STRIPE_EVENT] > 0
    assert noted[Moment.STRIPE_EVENT_DUE] < noted[Moment.STRIPE_EVENT] + ARRIVING_SECONDS


async def aged(shop: Shop) -> Mapping[str, float]:
    """Let ten minutes have passed since all that was noted, and return the times."""
    await fetch(shop.stack.engine, """UPDATE "InventoryMoment" SET at = at - interval '10 minutes'""", {})
    return await read_moments(shop.stack.engine)


async def test_while_events_arrive_the_closing_of_a_payment_writes_no_time(shop: Shop) -> None:
    engine = shop.stack.engine
    await note_stripe_event(engine)
    for _ in ("none was ever due", "one was due"):
        heard = await read_moments(engine)
        await note_stripe_event(engine)
        await note_stripe_event_due(engine, 0)
        assert await read_moments(engine) == heard

        quiet = await aged(shop)
        await note_stripe_event_due(engine, 120)
        due = await read_moments(engine)
        assert due[Moment.STRIPE_EVENT_DUE] > quiet[Moment.STRIPE_EVENT] + ARRIVING_SECONDS
        await note_stripe_event_due(engine, 0)
        assert await read_moments(engine) == due

        await note_stripe_event(engine)
        assert (await read_moments(engine))[Moment.STRIPE_EVENT] > due[Moment.STRIPE_EVENT_DUE]


async def test_no_webhook_waits_for_the_row_that_another_writes(shop: Shop) -> None:
    engine = shop.stack.engine
    await note_stripe_event_due(engine, 1000)
    await note_stripe_event(engine)
    before = await aged(shop)
    async with engine.execution_options(isolation_level="READ COMMITTED").connect() as other, other.begin():
        await fetch_on(other, 'SELECT name FROM "InventoryMoment" FOR UPDATE', {})
        async with asyncio.timeout(10):
            await note_stripe_event(engine)
            await note_stripe_event_due(engine, 0)
        assert await read_moments(engine) == before
    await note_stripe_event_due(engine, 0)
    await note_stripe_event(engine)
    noted = await read_moments(engine)
    assert noted[Moment.STRIPE_EVENT] > noted[Moment.STRIPE_EVENT_DUE] > before[Moment.STRIPE_EVENT_DUE]
