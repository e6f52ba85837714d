from typing import Any

import pytest
from stripe import CardError, InvalidRequestError, PaymentIntent, Refund

from tests.simulated import Inbox, Simulated
from tests.simulator.shop import line, opened, paid


async def made(sim: Simulated, **changes: Any) -> PaymentIntent:
    wanted: Any = {"amount": 2500, "currency": "eur", "metadata": {"inventory_reservation_id": "hold-1"}, **changes}
    return await sim.stripe.v1.payment_intents.create_async(wanted)


async def refunded(sim: Simulated, intent: str, **more: Any) -> Refund:
    wanted: Any = {"payment_intent": intent, **more}
    return await sim.stripe.v1.refunds.create_async(wanted)


async def test_a_payment_intent_is_confirmed_with_a_test_card(sim: Simulated, box: Inbox) -> None:
    intent = await made(sim)
    assert (intent.status, intent.to_dict()["metadata"]) == (
        "requires_payment_method",
        {"inventory_reservation_id": "hold-1"},
    )
    assert (intent.client_secret or "").startswith(f"{intent.id}_secret_")
    done = await sim.stripe.v1.payment_intents.confirm_async(
        intent.id, {"payment_method": "pm_card_visa", "expand": ["latest_charge.refunds", "payment_method"]}
    )
    assert (done.status, done.amount_received) == ("succeeded", 2500)
    await box.wait_for("payment_intent.succeeded")
    assert box.types == ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]


async def test_a_payment_intent_can_be_confirmed_as_it_is_made(sim: Simulated) -> None:
    intent = await made(sim, confirm=True, payment_method="pm_card_visa", return_url="https://shop.example/")
    assert intent.status == "succeeded"
    waiting = await made(sim, payment_method="pm_card_visa", payment_method_types=["card"])
    assert waiting.status == "requires_confirmation"
    assert (await sim.stripe.v1.payment_intents.confirm_async(waiting.id)).status == "succeeded"
    debit = await made(sim, confirm=True, payment_method_data={"type": "sepa_debit", "sepa_debit": {"iban": "AT00"}})
    assert debit.status == "processing"
    listed = await sim.stripe.v1.payment_intents.list_async()
    assert [each.id for each in listed.data] == [debit.id, waiting.id, intent.id]


async def test_a_declined_card_is_402_with_the_payment_intent_in_it(sim: Simulated, box: Inbox) -> None:
    intent = await made(sim)
    with pytest.raises(CardError) as declined:
        await sim.stripe.v1.payment_intents.confirm_async(
            intent.id, {"payment_method": "pm_card_chargeDeclinedInsufficientFunds"}
        )
    assert declined.value.http_status == 402
    assert declined.value.code == "card_declined"
    error = declined.value.error
    assert error is not None
    assert error.decline_code == "insufficient_funds"
    assert error.payment_intent is not None
    assert error.payment_intent.status == "requires_payment_method"
    await box.wait_for("charge.failed", "payment_intent.payment_failed")
    charges = await sim.stripe.v1.charges.list_async({"payment_intent": intent.id})
    assert [each.status for each in charges.data] == ["failed"]


async def test_3d_secure_points_to_the_banks_page(sim: Simulated) -> None:
    intent = await made(sim, confirm=True, payment_method="pm_card_authenticationRequired")
    assert intent.status == "requires_action"
    assert intent.next_action is not None
    assert intent.next_action.redirect_to_url is not None
    page = await sim.browser.get(intent.next_action.redirect_to_url.url or "")
    assert "25.00 EUR" in page.text
    await sim.control(f"/payment_intents/{intent.id}/authenticate", ok=True)
    assert (await sim.stripe.v1.payment_intents.retrieve_async(intent.id)).status == "succeeded"


async def test_a_shopper_can_pay_a_payment_intent_in_the_browser(sim: Simulated) -> None:
    intent = await made(sim)
    books = await sim.control(f"/payment_intents/{intent.id}/pay", how="card")
    assert (books["status"], books["captured"]) == ("succeeded", 2500)


@pytest.mark.parametrize("how", ["nothing", "method", "3ds", "manual"])
async def test_a_payment_that_took_no_money_can_be_cancelled(sim: Simulated, box: Inbox, how: str) -> None:
    changes: dict[str, dict[str, Any]] = {
        "nothing": {},
        "method": {"payment_method": "pm_card_visa"},
        "3ds": {"confirm": True, "payment_method": "pm_card_authenticationRequired"},
        "manual": {"confirm": True, "payment_method": "pm_card_visa", "capture_method": "manual"},
    }
    intent = await made(sim, **changes[how])
    ended = await sim.stripe.v1.payment_intents.cancel_async(intent.id, {"cancellation_reason": "abandoned"})
    assert (ended.status, ended.cancellation_reason, ended.amount_capturable) == ("canceled", "abandoned", 0)
    assert ended.canceled_at is not None
    await box.wait_for("payment_intent.canceled")
    assert (await sim.books(intent.id))["net"] == 0


async def test_a_payment_that_is_paid_or_under_way_cannot_be_cancelled_or_confirmed(sim: Simulated) -> None:
    succeeded = await made(sim, confirm=True, payment_method="pm_card_visa")
    processing = await made(sim, confirm=True, payment_method_data={"type": "sepa_debit"})
    for intent in (succeeded, processing):
        for call in (sim.stripe.v1.payment_intents.cancel_async, sim.stripe.v1.payment_intents.confirm_async):
            with pytest.raises(InvalidRequestError) as refused:
                await call(intent.id)
            assert refused.value.code == "payment_intent_unexpected_state"


async def test_a_checkout_payment_is_cancelled_only_once_it_can_be_captured(sim: Simulated) -> None:
    session = await opened(sim, payment_intent_data={"capture_method": "manual"})
    intent = await paid(sim, session, "declined")
    for call in (sim.stripe.v1.payment_intents.cancel_async, sim.stripe.v1.payment_intents.confirm_async):
        with pytest.raises(InvalidRequestError) as refused:
            await call(intent)
        assert (refused.value.http_status, refused.value.code) == (400, None)
    await paid(sim, session)
    ended = await sim.stripe.v1.payment_intents.cancel_async(intent)
    assert ended.status == "canceled"
    got = await sim.stripe.v1.checkout.sessions.retrieve_async(session.id)
    assert (got.status, got.payment_status) == ("complete", "unpaid")


async def test_only_what_is_authorised_can_be_captured(sim: Simulated) -> None:
    intent = await made(sim, confirm=True, payment_method="pm_card_visa", capture_method="manual")
    with pytest.raises(InvalidRequestError) as refused:
        await sim.stripe.v1.payment_intents.capture_async(intent.id, {"amount_to_capture": 2501})
    assert refused.value.code == "amount_too_large"
    await sim.stripe.v1.payment_intents.capture_async(intent.id)
    with pytest.raises(InvalidRequestError) as refused:
        await sim.stripe.v1.payment_intents.capture_async(intent.id)
    assert refused.value.code == "payment_intent_unexpected_state"


async def test_an_authorisation_falls_back_after_seven_days(sim: Simulated, box: Inbox) -> None:
    intent = await made(sim, confirm=True, payment_method="pm_card_visa", capture_method="manual")
    await sim.control("/clock", advance=7 * 86_400 + 1)
    await box.wait_for("payment_intent.canceled")
    assert (await sim.stripe.v1.payment_intents.retrieve_async(intent.id)).cancellation_reason == "automatic"


async def test_a_refund_in_parts_until_nothing_is_left(sim: Simulated, box: Inbox) -> None:
    intent = await paid(sim, await opened(sim))
    part = await refunded(sim, intent, amount=1000, reason="requested_by_customer", metadata={"why": "late"})
    assert (part.status, part.amount) == ("succeeded", 1000)
    with pytest.raises(InvalidRequestError) as refused:
        await refunded(sim, intent, amount=1501)
    assert (refused.value.param, refused.value.code) == ("amount", None)
    assert (await refunded(sim, intent)).amount == 1500
    with pytest.raises(InvalidRequestError) as refused:
        await refunded(sim, intent)
    assert (refused.value.http_status, refused.value.code) == (400, "charge_already_refunded")
    await box.wait_for("refund.created", "charge.refunded")
    books = await sim.books(intent)
    assert (books["captured"], books["refunded"], books["net"]) == (2500, 2500, 0)
    charge = (await sim.stripe.v1.charges.list_async({"payment_intent": intent})).data[0]
    got = await sim.stripe.v1.charges.retrieve_async(charge.id, {"expand": ["refunds"]})
    assert (got.refunded, got.amount_refunded) == (True, 2500)
    again = await sim.stripe.v1.refunds.retrieve_async(part.id, {"expand": ["charge", "payment_intent"]})
    assert again.to_dict()["metadata"] == {"why": "late"}
    assert len((await sim.stripe.v1.refunds.list_async({"payment_intent": intent})).data) == 2


async def test_a_bank_debits_refund_is_pending_and_can_fail(sim: Simulated, box: Inbox) -> None:
    intent = await paid(sim, await opened(sim), "debit")
    with pytest.raises(InvalidRequestError):
        await refunded(sim, intent)
    await sim.control(f"/payment_intents/{intent}/settle", ok=True)
    first = await refunded(sim, intent)
    assert first.status == "pending"
    await sim.control(f"/refunds/{first.id}/settle", ok=False)
    await box.wait_for("refund.failed", "refund.updated", "charge.refund.updated")
    assert (await sim.books(intent))["net"] == 2500
    second = await refunded(sim, intent)
    await sim.control(f"/refunds/{second.id}/settle", ok=True)
    assert (await sim.stripe.v1.refunds.retrieve_async(second.id)).status == "succeeded"
    assert (await sim.books(intent))["net"] == 0


async def test_what_was_not_captured_cannot_be_refunded(sim: Simulated) -> None:
    untouched = await made(sim)
    held = await made(sim, confirm=True, payment_method="pm_card_visa", capture_method="manual")
    for intent in (untouched, held):
        with pytest.raises(InvalidRequestError) as refused:
            await refunded(sim, intent.id)
        assert refused.value.http_status == 400


async def test_a_dispute_is_reported_and_bars_refunds(sim: Simulated, box: Inbox) -> None:
    intent = await paid(sim, await opened(sim))
    await sim.control(f"/payment_intents/{intent}/dispute")
    await box.wait_for("charge.dispute.created")
    dispute = await sim.stripe.v1.disputes.retrieve_async(
        box.events[-1]["data"]["object"]["id"], {"expand": ["payment_intent"]}
    )
    assert dispute.status == "needs_response"
    with pytest.raises(InvalidRequestError) as refused:
        await refunded(sim, intent)
    assert refused.value.code == "charge_disputed"
    assert (await sim.books(intent))["disputed"] is True


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"amount": 10}, "amount", "amount_too_small"),
        ({"amount": 10**9}, "amount", "amount_too_large"),
        ({"currency": "euros"}, "currency", None),
        ({"payment_method": "pm_none", "confirm": True}, "payment_method", "resource_missing"),
        ({"confirm": True}, None, "payment_intent_unexpected_state"),
        ({"payment_method_types": ["card"], "automatic_payment_methods": {"enabled": True}}, None, None),
    ],
)
async def test_a_bad_payment_intent_is_refused(
    sim: Simulated, changes: dict[str, Any], param: str | None, code: str | None
) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        await made(sim, **changes)
    assert (refused.value.http_status, refused.value.param, refused.value.code) == (400, param, code)
    assert await sim.control("/payments", "GET") == []


async def test_every_way_to_pay_has_a_shape_that_stripe_describes(sim: Simulated) -> None:
    ways = [("card", "eur"), ("us_bank_account", "usd"), ("sepa_debit", "eur"), ("bacs_debit", "gbp")]
    vouchers = [("boleto", "brl"), ("konbini", "jpy"), ("oxxo", "mxn")]
    for kind, currency in ways + vouchers:
        session = await opened(sim, payment_method_types=[kind], line_items=[line(currency=currency)])
        how = "card" if kind == "card" else "voucher" if (kind, currency) in vouchers else "debit"
        intent = await paid(sim, session, how)
        if kind != "card":
            await sim.control(f"/payment_intents/{intent}/settle", ok=True)
        got: Any = await sim.stripe.v1.payment_intents.retrieve_async(
            intent, {"expand": ["latest_charge", "payment_method"]}
        )
        assert got.latest_charge.payment_method_details.type == kind
        assert got.payment_method.type == kind
