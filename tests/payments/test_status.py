"""The status of a payment by each payment method, with and without a Checkout Session."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from payments.client import PaymentClient
from payments.status import PaymentState, PaymentStatus
from tests.simulated import Simulated, simulated

EUR = {"currency": "eur", "unit_amount": 1250, "product_data": {"name": "Tee"}}
JPY = {"currency": "jpy", "unit_amount": 1250, "product_data": {"name": "Tee"}}


@pytest.fixture(scope="module")
async def sim() -> AsyncIterator[Simulated]:
    async with simulated() as running:
        yield running


async def opened(sim: Simulated, price: dict[str, Any] = EUR, **fields: Any) -> str:
    """Open a session and return its id."""
    wanted: Any = {
        "mode": "payment",
        "success_url": "https://shop.example/paid",
        "line_items": [{"quantity": 2, "price_data": price}],
        **fields,
    }
    return (await sim.stripe.v1.checkout.sessions.create_async(wanted)).id


async def check(sim: Simulated, session_id: str) -> PaymentStatus:
    return await PaymentClient(sim.stripe).check(session_id=session_id)


async def paid(sim: Simulated, session_id: str, how: str, **fields: Any) -> str:
    summary = await sim.control(f"/sessions/{session_id}/pay", how=how, **fields)
    return str(summary["payment"]["payment_intent"])


async def test_a_new_session_is_open_and_has_no_payment_intent(sim: Simulated) -> None:
    session = await opened(sim, metadata={"shop_id": "shop-1"})
    found = await check(sim, session)
    assert (found.state, found.session_id, found.intent_id) == (PaymentState.OPEN, session, None)
    assert found.metadata == {"shop_id": "shop-1"}
    assert found.expires_at is not None
    assert found.expires_at > datetime.now(UTC)
    assert found.url


@pytest.mark.parametrize(
    ("how", "price", "state", "method"),
    [
        ("card", EUR, PaymentState.PAID, "card"),
        ("declined", EUR, PaymentState.OPEN, "card"),
        ("3ds", EUR, PaymentState.OPEN, None),
        ("debit", EUR, PaymentState.PROCESSING, "sepa_debit"),
        ("voucher", JPY, PaymentState.PROCESSING, "konbini"),
    ],
)
async def test_the_status_by_payment_method(
    sim: Simulated, how: str, price: dict[str, Any], state: PaymentState, method: str | None
) -> None:
    session = await opened(sim, price)
    intent = await paid(sim, session, how)
    by_session, by_intent = await check(sim, session), await PaymentClient(sim.stripe).check(intent_id=intent)
    assert (by_session.state, by_session.intent_id, by_session.method) == (state, intent, method)
    assert (by_intent.state, by_intent.intent_id, by_intent.method) == (state, intent, method)


@pytest.mark.parametrize(("ok", "state"), [(True, PaymentState.PAID), (False, PaymentState.UNPAYABLE)])
@pytest.mark.parametrize(("how", "price"), [("debit", EUR), ("voucher", JPY)])
async def test_a_delayed_payment_succeeds_or_fails(
    sim: Simulated, how: str, price: dict[str, Any], ok: bool, state: PaymentState
) -> None:
    session = await opened(sim, price)
    intent = await paid(sim, session, how)
    await sim.control(f"/payment_intents/{intent}/settle", ok=ok)
    assert (await check(sim, session)).state is state


async def test_an_authorised_card_must_be_captured(sim: Simulated) -> None:
    session = await opened(sim, payment_intent_data={"capture_method": "manual"})
    intent = await paid(sim, session, "card")
    assert (await check(sim, session)).state is PaymentState.AUTHORIZED
    await sim.stripe.v1.payment_intents.cancel_async(intent)
    assert (await check(sim, session)).state is PaymentState.UNPAYABLE


@pytest.mark.parametrize(("amount", "state"), [(1000, PaymentState.PAID), (2500, PaymentState.REFUNDED)])
async def test_only_a_fully_refunded_payment_is_refunded(sim: Simulated, amount: int, state: PaymentState) -> None:
    session = await opened(sim)
    intent = await paid(sim, session, "card")
    await sim.stripe.v1.refunds.create_async({"payment_intent": intent, "amount": amount})
    assert (await check(sim, session)).state is state


async def test_an_expired_session_is_unpayable(sim: Simulated) -> None:
    session = await opened(sim)
    await sim.control(f"/sessions/{session}/expire")
    found = await check(sim, session)
    assert (found.state, found.url) == (PaymentState.UNPAYABLE, None)


@pytest.mark.parametrize("how", ["declined", "3ds"])
async def test_an_unfinished_payment_of_an_expired_session_is_unpayable(sim: Simulated, how: str) -> None:
    session = await opened(sim)
    await paid(sim, session, how)
    await sim.control(f"/sessions/{session}/expire")
    assert (await check(sim, session)).state is PaymentState.UNPAYABLE


async def test_a_payment_that_completes_after_the_session_expired_is_paid(sim: Simulated) -> None:
    session = await opened(sim)
    await sim.control(f"/sessions/{session}/expire")
    await paid(sim, session, "card", late="expired")
    assert (await check(sim, session)).state is PaymentState.PAID


async def test_a_total_of_zero_is_paid_without_a_payment_intent(sim: Simulated) -> None:
    session = await opened(sim, {**EUR, "unit_amount": 0})
    await sim.control(f"/sessions/{session}/pay")
    found = await check(sim, session)
    assert (found.state, found.intent_id) == (PaymentState.PAID, None)
