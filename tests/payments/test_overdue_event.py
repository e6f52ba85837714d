"""When Stripe has a reason to send an event, and none arrives: known from the first on, whatever restarts."""

from inventory.moments import ARRIVING_SECONDS, Moment, read_moments
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
    assert noted[Moment.STRIPE_EVENT] > 0 < noted[Moment.STRIPE_EVENT_DUE]
    assert noted[Moment.STRIPE_EVENT_DUE] < noted[Moment.STRIPE_EVENT] + ARRIVING_SECONDS
