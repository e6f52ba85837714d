import time
from typing import Any

import pytest
from stripe import InvalidRequestError

from tests.simulated import Inbox, Simulated
from tests.simulator.shop import CANCEL, checkout, line, opened, paid


async def test_a_new_session_is_open_and_has_no_payment_intent_yet(sim: Simulated) -> None:
    session = await opened(sim, client_reference_id="cart-7")
    assert session.id.startswith("cs_test_")
    assert (session.status, session.payment_status, session.payment_intent) == ("open", "unpaid", None)
    assert (session.amount_total, session.currency, session.livemode) == (2500, "eur", False)
    assert session.to_dict()["metadata"] == {"inventory_reservation_id": "hold-1", "shop_id": "shop-1"}
    assert session.client_reference_id == "cart-7"
    assert session.cancel_url == CANCEL
    assert session.url is not None
    assert session.expires_at - session.created == 24 * 3600


async def test_paying_makes_the_payment_intent_with_its_own_metadata(sim: Simulated) -> None:
    session = await opened(sim, payment_intent_data={"metadata": {"inventory_reservation_id": "hold-2"}})
    await paid(sim, session)
    got = await sim.stripe.v1.checkout.sessions.retrieve_async(
        session.id, {"expand": ["payment_intent.latest_charge", "line_items"]}
    )
    assert (got.status, got.payment_status, got.url) == ("complete", "paid", None)
    intent: Any = got.payment_intent
    assert (intent.status, intent.amount_received) == ("succeeded", 2500)
    assert intent.to_dict()["metadata"] == {"inventory_reservation_id": "hold-2"}
    assert (intent.latest_charge.captured, intent.latest_charge.amount_captured) == (True, 2500)
    assert got.line_items is not None
    assert got.line_items.data[0].description == "Tee"


async def test_a_card_payment_sends_its_events_in_order(sim: Simulated, box: Inbox) -> None:
    session = await opened(sim)
    intent = await paid(sim, session)
    await box.wait_for("checkout.session.completed")
    assert box.types == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.completed",
    ]
    completed = box.events[-1]["data"]["object"]
    assert (completed["id"], completed["payment_intent"]) == (session.id, intent)
    assert completed["metadata"]["inventory_reservation_id"] == "hold-1"
    assert completed["payment_status"] == "paid"


async def test_a_declined_card_leaves_the_session_open_for_another(sim: Simulated, box: Inbox) -> None:
    session = await opened(sim)
    first = await paid(sim, session, "declined")
    await box.wait_for("payment_intent.payment_failed")
    got = await sim.stripe.v1.checkout.sessions.retrieve_async(session.id, {"expand": ["payment_intent"]})
    intent: Any = got.payment_intent
    assert (got.status, intent.status) == ("open", "requires_payment_method")
    assert intent.last_payment_error.decline_code == "generic_decline"
    assert await paid(sim, session) == first
    await box.wait_for("checkout.session.completed")


async def test_3d_secure_waits_for_the_shopper(sim: Simulated, box: Inbox) -> None:
    session = await opened(sim)
    intent = await paid(sim, session, "3ds")
    await box.wait_for("payment_intent.requires_action")
    assert (await sim.stripe.v1.checkout.sessions.retrieve_async(session.id)).status == "open"
    await sim.control(f"/payment_intents/{intent}/authenticate", ok=True)
    await box.wait_for("payment_intent.succeeded", "checkout.session.completed")


async def test_3d_secure_that_fails_is_a_failed_attempt(sim: Simulated, box: Inbox) -> None:
    session = await opened(sim)
    intent = await paid(sim, session, "3ds")
    await sim.control(f"/payment_intents/{intent}/authenticate", ok=False)
    await box.wait_for("payment_intent.payment_failed")
    assert (await sim.stripe.v1.checkout.sessions.retrieve_async(session.id)).status == "open"


@pytest.mark.parametrize(
    ("currency", "how"), [("eur", "debit"), ("usd", "debit"), ("jpy", "voucher"), ("brl", "voucher")]
)
@pytest.mark.parametrize("ok", [True, False])
async def test_money_that_comes_later(sim: Simulated, box: Inbox, currency: str, how: str, ok: bool) -> None:
    session = await opened(sim, line_items=[line(currency=currency)])
    intent = await paid(sim, session, how)
    await box.wait_for("checkout.session.completed")
    assert box.events[-1]["data"]["object"]["payment_status"] == "unpaid"
    waiting = await sim.stripe.v1.payment_intents.retrieve_async(intent)
    assert waiting.status == ("processing" if how == "debit" else "requires_action")
    await sim.control(f"/payment_intents/{intent}/settle", ok=ok)
    await box.wait_for(f"checkout.session.async_payment_{'succeeded' if ok else 'failed'}")
    got = await sim.stripe.v1.checkout.sessions.retrieve_async(session.id, {"expand": ["payment_intent"]})
    assert (got.status, got.payment_status) == ("complete", "paid" if ok else "unpaid")
    assert box.types[-2] == ("payment_intent.succeeded" if ok else "payment_intent.payment_failed")
    assert (await sim.books(intent))["captured"] == (session.amount_total if ok else 0)


async def test_manual_capture_completes_unpaid_and_can_be_captured_in_part(sim: Simulated, box: Inbox) -> None:
    session = await opened(sim, payment_intent_data={"capture_method": "manual"})
    assert session.payment_method_types == ["card"]
    intent = await paid(sim, session)
    await box.wait_for("payment_intent.amount_capturable_updated", "checkout.session.completed")
    assert box.events[-1]["data"]["object"]["payment_status"] == "unpaid"
    captured = await sim.stripe.v1.payment_intents.capture_async(intent, {"amount_to_capture": 1000})
    assert (captured.status, captured.amount_received, captured.amount_capturable) == ("succeeded", 1000, 0)
    await box.wait_for("charge.captured", "payment_intent.succeeded")


async def test_expiring_closes_the_session_and_its_unpaid_payment(sim: Simulated, box: Inbox) -> None:
    session = await opened(sim)
    intent = await paid(sim, session, "declined")
    expired = await sim.stripe.v1.checkout.sessions.expire_async(session.id)
    assert (expired.status, expired.url) == ("expired", None)
    assert (await sim.stripe.v1.payment_intents.retrieve_async(intent)).status == "canceled"
    await box.wait_for("payment_intent.canceled", "checkout.session.expired")


@pytest.mark.parametrize("end", ["complete", "expired"])
async def test_expiring_what_has_ended_is_400_without_a_code(sim: Simulated, end: str) -> None:
    session = await opened(sim)
    if end == "complete":
        await paid(sim, session)
    else:
        await sim.stripe.v1.checkout.sessions.expire_async(session.id)
    with pytest.raises(InvalidRequestError) as refused:
        await sim.stripe.v1.checkout.sessions.expire_async(session.id)
    assert (refused.value.http_status, refused.value.code) == (400, None)
    assert (await sim.stripe.v1.checkout.sessions.retrieve_async(session.id)).status == end


@pytest.mark.parametrize(("seconds", "accepted"), [(29 * 60, False), (31 * 60, True), (24 * 3600 + 60, False)])
async def test_a_session_lives_from_30_minutes_to_24_hours(sim: Simulated, seconds: int, accepted: bool) -> None:
    wanted = checkout(expires_at=int(time.time()) + seconds)
    if accepted:
        assert (await sim.stripe.v1.checkout.sessions.create_async(wanted)).expires_at == wanted["expires_at"]
        return
    with pytest.raises(InvalidRequestError) as refused:
        await sim.stripe.v1.checkout.sessions.create_async(wanted)
    assert refused.value.param == "expires_at"


async def test_a_session_expires_by_itself_when_its_time_is_up(sim: Simulated, box: Inbox) -> None:
    session = await opened(sim, expires_at=int(time.time()) + 1900)
    await sim.control("/clock", advance=1899 - 60)
    assert (await sim.stripe.v1.checkout.sessions.retrieve_async(session.id)).status == "open"
    await sim.control("/clock", advance=120)
    await box.wait_for("checkout.session.expired")
    assert (await sim.stripe.v1.checkout.sessions.retrieve_async(session.id)).status == "expired"


async def test_nothing_to_pay_completes_without_a_payment(sim: Simulated) -> None:
    session = await opened(sim, line_items=[line(0)])
    await sim.control(f"/sessions/{session.id}/pay")
    got = await sim.stripe.v1.checkout.sessions.retrieve_async(session.id)
    assert (got.status, got.payment_status, got.payment_intent) == ("complete", "no_payment_required", None)


async def test_a_price_can_be_named_instead_of_described(sim: Simulated) -> None:
    price = await sim.stripe.v1.prices.create_async(
        {"currency": "eur", "unit_amount": 900, "product_data": {"name": "Cap"}}
    )
    session = await opened(sim, line_items=[{"price": price.id, "quantity": 3}])
    assert session.amount_total == 2700
    assert (await sim.stripe.v1.prices.retrieve_async(price.id, {"expand": ["product"]})).unit_amount == 900
    lines = await sim.stripe.v1.checkout.sessions.line_items.list_async(session.id)
    assert [(each.quantity, each.description) for each in lines.data] == [(3, "Cap")]
    product = await sim.stripe.v1.products.create_async({"name": "Mug"})
    data = {"currency": "eur", "unit_amount": 700, "product": product.id}
    assert (await opened(sim, line_items=[{"price_data": data, "quantity": 1}])).amount_total == 700


async def test_sessions_are_listed_newest_first_in_pages(sim: Simulated) -> None:
    made = [(await opened(sim)).id for _ in range(5)]
    intent = await paid(sim, await sim.stripe.v1.checkout.sessions.retrieve_async(made[1]))
    first = await sim.stripe.v1.checkout.sessions.list_async({"limit": 2})
    assert ([each.id for each in first.data], first.has_more) == (made[:2:-1], True)
    every = [each.id async for each in first.auto_paging_iter()]
    assert every == made[::-1]
    found = await sim.stripe.v1.checkout.sessions.list_async({"payment_intent": intent})
    assert [each.id for each in found.data] == [made[1]]
    still_open = await sim.stripe.v1.checkout.sessions.list_async(
        {"status": "open", "created": {"gte": 1}, "expand": ["data.payment_intent"], "ending_before": made[2]}
    )
    assert ([each.id for each in still_open.data], still_open.has_more) == ([made[4], made[3]], False)
    nearest = await sim.stripe.v1.checkout.sessions.list_async({"limit": 2, "ending_before": made[0]})
    assert ([each.id for each in nearest.data], nearest.has_more) == ([made[2], made[1]], True)


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"mode": "subscription"}, "mode", None),
        ({"success_url": "shop.example"}, "success_url", "url_invalid"),
        ({"line_items": []}, "line_items", "parameter_missing"),
        ({"line_items": [line(-1)]}, "line_items[0][price_data][unit_amount]", "parameter_invalid_integer"),
        ({"line_items": [line(10, quantity=1)]}, "line_items", "amount_too_small"),
        ({"line_items": [line(), line(currency="usd")]}, "line_items", None),
        ({"line_items": [{"price": "price_none", "quantity": 1}]}, "line_items[0][price]", "resource_missing"),
        ({"line_items": [{"price": "price_none"}]}, "line_items[0][quantity]", "parameter_missing"),
        ({"payment_method_types": ["us_bank_account"]}, "payment_method_types[0]", None),
        ({"payment_method_types": ["card", "telepathy"]}, "payment_method_types[1]", None),
        ({"metadata": {"k": "v" * 501}}, "metadata[k]", None),
        ({"metadata": {str(n): "v" for n in range(51)}}, "metadata", None),
        ({"colour": "red"}, "colour", None),
        ({"payment_intent_data": {"colour": "red"}}, "payment_intent_data[colour]", None),
        ({"expires_at": "soon"}, "expires_at", "parameter_invalid_integer"),
        ({"cancel_url": ""}, "cancel_url", "parameter_invalid_empty"),
        (
            {"payment_method_types": ["sepa_debit"], "payment_intent_data": {"capture_method": "manual"}},
            "payment_method_types[0]",
            None,
        ),
    ],
)
async def test_what_stripe_refuses_is_refused_by_name(
    sim: Simulated, changes: dict[str, Any], param: str, code: str | None
) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        await sim.stripe.v1.checkout.sessions.create_async(checkout(**changes))
    assert (refused.value.http_status, refused.value.param, refused.value.code) == (400, param, code)
    assert (await sim.control("/sessions", "GET")) == []
