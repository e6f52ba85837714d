"""The calls to Stripe when repeated, as a retried activity repeats them: one session, one end, one refund."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from payments.client import PaymentClient
from payments.errors import IDEMPOTENCY_ERROR, StripeRefusedError, StripeUnavailableError
from payments.session_params import Order, PaidLine, session_params
from payments.status import PaymentState
from tests.simulated import Simulated, simulated, stripe_client
from tests.waiting import until

KEY = "checkout:shop-1:h1"
HOLD = {"inventory_reservation_id": "h1", "shop_id": "shop-1"}
LINE = PaidLine(2, name="Tee", unit_amount=1250, currency="eur")


@pytest.fixture(scope="module")
async def _simulator() -> AsyncIterator[Simulated]:
    async with simulated() as running:
        yield running


@pytest.fixture
async def sim(_simulator: Simulated) -> Simulated:
    """A simulator that sends no webhooks, empty."""
    _simulator.account.reset()
    return _simulator


@pytest.fixture
def client(sim: Simulated) -> PaymentClient:
    """The product's calls, through Stripe's own library."""
    return PaymentClient(sim.stripe)


def params(hold_id: str = "h1", **changes: Any) -> dict[str, Any]:
    """Return what the workflow sends to open the session of a hold."""
    order = Order("shop-1", hold_id, [LINE], "https://shop.example/paid", None, **changes)
    return session_params(order)


def now() -> datetime:
    return datetime.now(UTC)


async def open_session(client: PaymentClient, **changes: Any) -> str:
    opened = await client.open_session(params(**changes), KEY, begun_at=now())
    assert opened.session_id is not None
    return opened.session_id


async def paid(sim: Simulated, session_id: str, how: str = "card", **fields: Any) -> str:
    """Let the shopper pay, and return the PaymentIntent."""
    summary = await sim.control(f"/sessions/{session_id}/pay", how=how, **fields)
    return str(summary["payment"]["payment_intent"])


async def fail(sim: Simulated, call: str, effect: str = "error", **fields: Any) -> None:
    """Let this call go wrong."""
    await sim.control("/faults", on="api", effect=effect, match=call, **fields)


async def statuses(sim: Simulated, call: str) -> list[int | None]:
    """Return how Stripe answered these calls."""
    return [each["status"] for each in await sim.control("/calls", "GET") if each["operation"] == call]


async def sessions(sim: Simulated) -> list[str]:
    return [each["status"] for each in await sim.control("/sessions", "GET")]


async def status_of(sim: Simulated, session_id: str) -> str | None:
    return (await sim.stripe.v1.checkout.sessions.retrieve_async(session_id)).status


async def test_the_same_key_opens_one_session(sim: Simulated, client: PaymentClient) -> None:
    assert await open_session(client) == await open_session(client)
    assert await sessions(sim) == ["open"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("metadata", [None, {"channel": "web", "note": ""}])
async def test_a_stored_500_opens_no_second_session(
    sim: Simulated, client: PaymentClient, when: str, metadata: dict[str, str] | None
) -> None:
    await fail(sim, "checkout.sessions.create", when=when)
    first = await open_session(client, metadata=metadata)
    assert await open_session(client, metadata=metadata) == first
    assert await sessions(sim) == ["open"]


async def test_a_session_created_by_a_500_is_found_on_the_second_page(sim: Simulated, client: PaymentClient) -> None:
    await fail(sim, "checkout.sessions.create", when="after", about="h1")
    with pytest.raises(Exception, match="unknown error"):
        await sim.stripe.v1.checkout.sessions.create_async(params(), {"idempotency_key": KEY})  # type: ignore[arg-type]
    for n in range(101):
        await client.open_session(params(f"other-{n}"), f"other-{n}", begun_at=None)
    found = await client.open_session(params(), KEY, begun_at=now())
    assert found.metadata == HOLD
    assert len(await sessions(sim)) == 102


async def test_a_long_outage_does_not_use_up_the_keys(sim: Simulated, client: PaymentClient) -> None:
    await fail(sim, "checkout.sessions.create", times=20)
    for _ in range(6):
        with pytest.raises(StripeUnavailableError):
            await open_session(client)
    assert await sessions(sim) == []
    await open_session(client)
    assert await sessions(sim) == ["open"]


async def test_a_503_that_was_not_stored_opens_no_second_session(sim: Simulated, client: PaymentClient) -> None:
    """The 503 is not kept, the next answer is lost with the process that waited for it, and another begins anew."""
    await fail(sim, "checkout.sessions.create", stored=False, status=503)
    await fail(sim, "checkout.sessions.create", "timeout", when="after", seconds=30)
    async with stripe_client(sim.url, patience=0.5) as hurried:
        with pytest.raises(StripeUnavailableError):
            await open_session(PaymentClient(hurried))
    assert await open_session(client)
    assert await sessions(sim) == ["open"]


async def test_a_call_that_timed_out_is_repeated_with_its_key(sim: Simulated, client: PaymentClient) -> None:
    await fail(sim, "checkout.sessions.create", "timeout", when="after", seconds=30)
    async with stripe_client(sim.url, patience=0.5) as hurried:
        with pytest.raises(StripeUnavailableError):
            await open_session(PaymentClient(hurried))
    assert await open_session(client)
    assert await sessions(sim) == ["open"]


async def test_a_key_in_use_is_unavailable_and_succeeds_later(sim: Simulated, client: PaymentClient) -> None:
    await fail(sim, "checkout.sessions.create", "delay", seconds=30)
    first = asyncio.create_task(open_session(client))
    await until(lambda: sim.account.store.answers, "the first call has reached Stripe")
    with pytest.raises(StripeUnavailableError, match="in-progress"):
        await open_session(client)
    await sim.control("/faults", "DELETE")
    assert await first == await open_session(client)


@pytest.mark.parametrize("status", [409, 429])
async def test_a_409_or_429_is_unavailability(sim: Simulated, client: PaymentClient, status: int) -> None:
    await fail(sim, "*", status=status, stored=False, times=3)
    with pytest.raises(StripeUnavailableError):
        await open_session(client)
    with pytest.raises(StripeUnavailableError):
        await client.check(session_id="cs_test_1")
    with pytest.raises(StripeUnavailableError):
        await client.close("cs_test_1", session_id="cs_test_1", cancel_authorized=True)
    assert await open_session(client)


async def test_a_refusal_names_the_parameter(client: PaymentClient) -> None:
    wrong = params()
    wrong["line_items"].append({"quantity": 1, "price": "price_nowhere"})
    with pytest.raises(StripeRefusedError) as refused:
        await client.open_session(wrong, KEY, begun_at=now())
    assert (refused.value.code, refused.value.param) == ("resource_missing", "line_items[1][price]")
    assert refused.value.callers_fault


async def test_an_unknown_api_key_is_not_the_callers_fault(sim: Simulated) -> None:
    async with stripe_client(sim.url, api_key="sk_live_x") as stranger:
        for call in (open_session(PaymentClient(stranger)), PaymentClient(stranger).check(intent_id="pi_1")):
            with pytest.raises(StripeRefusedError) as refused:
                await call
            assert not refused.value.callers_fault


async def test_a_key_used_with_other_parameters_is_an_idempotency_error(client: PaymentClient) -> None:
    await open_session(client)
    with pytest.raises(StripeRefusedError) as refused:
        await open_session(client, locale="de")
    assert refused.value.code == IDEMPOTENCY_ERROR


async def test_a_key_longer_than_the_limit_opens_one_session(sim: Simulated, client: PaymentClient) -> None:
    opened = [await client.open_session(params(), f"checkout:{'x' * 300}", begun_at=now()) for _ in range(2)]
    assert opened[0] == opened[1]
    assert await sessions(sim) == ["open"]


async def test_a_missing_payment_is_unknown(client: PaymentClient) -> None:
    assert (await client.check(session_id="cs_test_none")).state is PaymentState.UNKNOWN
    assert (await client.check(intent_id="pi_none")).state is PaymentState.UNKNOWN
    closed = await client.close("cs_test_none", session_id="cs_test_none", cancel_authorized=True)
    assert closed.state is PaymentState.UNKNOWN


async def test_an_open_session_is_closed(sim: Simulated, client: PaymentClient) -> None:
    session = await open_session(client)
    for cancel in (True, False):
        closed = await client.close(session, session_id=session, cancel_authorized=cancel)
        assert closed.state is PaymentState.UNPAYABLE
    assert await status_of(sim, session) == "expired"
    assert await statuses(sim, "checkout.sessions.expire") == [200]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_session_paid_during_the_close_is_paid(sim: Simulated, client: PaymentClient, when: str) -> None:
    session = await open_session(client)
    await fail(sim, "checkout.sessions.expire", "pay", when=when)
    closed = await client.close(session, session_id=session, cancel_authorized=True)
    assert (closed.state, closed.intent_id) == (PaymentState.PAID, (await sim.books(session))["payment_intent"])


@pytest.mark.parametrize(("how", "state"), [("card", PaymentState.PAID), ("debit", PaymentState.PROCESSING)])
async def test_a_paid_session_is_not_closed(
    sim: Simulated, client: PaymentClient, how: str, state: PaymentState
) -> None:
    session = await open_session(client)
    intent = await paid(sim, session, how)
    closed = await client.close(session, session_id=session, cancel_authorized=True)
    assert (closed.state, closed.intent_id) == (state, intent)
    assert await statuses(sim, "checkout.sessions.expire") == []


@pytest.mark.parametrize(
    ("cancel", "state", "money"),
    [(True, PaymentState.UNPAYABLE, "canceled"), (False, PaymentState.AUTHORIZED, "requires_capture")],
)
async def test_an_authorised_payment_is_cancelled_only_on_request(
    sim: Simulated, client: PaymentClient, *, cancel: bool, state: PaymentState, money: str
) -> None:
    session = await open_session(client, capture_method="manual")
    await paid(sim, session)
    closed = await client.close(session, session_id=session, cancel_authorized=cancel)
    assert closed.state is state
    assert (await sim.books(session))["status"] == money


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_close_answered_with_500_is_checked(sim: Simulated, client: PaymentClient, when: str) -> None:
    session = await open_session(client)
    await fail(sim, "checkout.sessions.expire", when=when)
    closed = await client.close(session, session_id=session, cancel_authorized=False)
    assert closed.state is PaymentState.UNPAYABLE
    assert await status_of(sim, session) == "expired"


async def test_a_session_that_cannot_be_closed_is_unavailable(sim: Simulated, client: PaymentClient) -> None:
    session = await open_session(client)
    await fail(sim, "checkout.sessions.expire", times=9)
    for _ in range(3):
        with pytest.raises(StripeUnavailableError):
            await client.close(session, session_id=session, cancel_authorized=False)
    assert (await client.close(session, session_id=session, cancel_authorized=False)).state is PaymentState.UNPAYABLE


async def test_a_close_that_timed_out_is_repeated_with_its_key(sim: Simulated, client: PaymentClient) -> None:
    session = await open_session(client)
    await fail(sim, "checkout.sessions.expire", "timeout", when="before", seconds=30)
    async with stripe_client(sim.url, patience=0.5) as hurried:
        with pytest.raises(StripeUnavailableError):
            await PaymentClient(hurried).close(session, session_id=session, cancel_authorized=False)
    assert (await client.close(session, session_id=session, cancel_authorized=False)).state is PaymentState.UNPAYABLE
    calls = await sim.control("/calls", "GET")
    keys = {each["idempotency_key"] for each in calls if each["operation"] == "checkout.sessions.expire"}
    assert keys == {f"{session}:close"}


async def intent_of_the_shops_own(sim: Simulated, **fields: Any) -> str:
    made = await sim.stripe.v1.payment_intents.create_async({"amount": 2500, "currency": "eur", **fields})  # type: ignore[typeddict-item]
    return made.id


async def test_a_payment_without_a_session_is_cancelled(sim: Simulated, client: PaymentClient) -> None:
    intent = await intent_of_the_shops_own(sim)
    for _ in range(2):
        assert (await client.close(intent, intent_id=intent, cancel_authorized=False)).state is PaymentState.UNPAYABLE
    assert (await sim.books(intent))["status"] == "canceled"
    assert await statuses(sim, "payment_intents.cancel") == [200]


async def test_a_payment_of_a_session_is_closed_by_the_session(sim: Simulated, client: PaymentClient) -> None:
    session = await open_session(client)
    intent = await paid(sim, session, "declined")
    assert (await client.check(intent_id=intent)).state is PaymentState.OPEN
    for _ in range(2):
        assert (await client.close(intent, intent_id=intent, cancel_authorized=False)).state is PaymentState.UNPAYABLE
    assert await status_of(sim, session) == "expired"


async def test_a_capture_takes_the_money_once(sim: Simulated, client: PaymentClient) -> None:
    session = await open_session(client, capture_method="manual")
    intent = await paid(sim, session)
    await fail(sim, "payment_intents.capture", when="after")
    for _ in range(2):
        assert (await client.capture(intent, f"capture:{intent}")).state is PaymentState.PAID
    assert (await sim.books(intent))["captured"] == 2500


async def test_a_cancelled_payment_cannot_be_captured(sim: Simulated, client: PaymentClient) -> None:
    session = await open_session(client, capture_method="manual")
    intent = await paid(sim, session)
    await sim.stripe.v1.payment_intents.cancel_async(intent)
    with pytest.raises(StripeRefusedError, match="canceled"):
        await client.capture(intent, f"capture:{intent}")


@pytest.mark.parametrize("when", [None, "before", "after"])
async def test_a_payment_is_refunded_once(sim: Simulated, client: PaymentClient, when: str | None) -> None:
    intent = await paid(sim, await open_session(client))
    if when is not None:
        await fail(sim, "refunds.create", when=when)
    for _ in range(2):
        assert (await client.refund_or_cancel(intent, "refund:h1", HOLD)).state is PaymentState.REFUNDED
    books = await sim.books(intent)
    assert (len(books["refunds"]), books["net"]) == (1, 0)


async def test_concurrent_refunds_refund_once(sim: Simulated, client: PaymentClient) -> None:
    intent = await paid(sim, await open_session(client))
    await asyncio.gather(*(client.refund_or_cancel(intent, f"refund:{n}", HOLD) for n in range(4)))
    books = await sim.books(intent)
    assert (len(books["refunds"]), books["net"]) == (1, 0)


async def test_only_the_rest_of_a_partly_refunded_payment_is_refunded(sim: Simulated, client: PaymentClient) -> None:
    intent = await paid(sim, await open_session(client))
    await sim.stripe.v1.refunds.create_async({"payment_intent": intent, "amount": 700})
    assert (await client.refund_or_cancel(intent, "refund:h1", HOLD)).state is PaymentState.REFUNDED
    assert [each["amount"] for each in (await sim.books(intent))["refunds"]] == [700, 1800]
    assert (await client.refund_or_cancel(intent, "refund:h1:later", HOLD)).state is PaymentState.REFUNDED
    assert (await sim.books(intent))["net"] == 0


async def test_an_authorised_payment_is_cancelled_instead_of_refunded(sim: Simulated, client: PaymentClient) -> None:
    intent = await paid(sim, await open_session(client, capture_method="manual"))
    assert (await client.refund_or_cancel(intent, "refund:h1", HOLD)).state is PaymentState.UNPAYABLE
    books = await sim.books(intent)
    assert (books["status"], books["captured"], books["refunds"]) == ("canceled", 0, [])


async def test_a_refused_refund_is_tried_again_by_the_next_call(sim: Simulated, client: PaymentClient) -> None:
    """Stripe keeps the refusal under its key for a day; the balance may be there an hour later."""
    intent = await paid(sim, await open_session(client))
    await fail(sim, "refunds.create", status=400, code="insufficient_funds", times=2)
    for _ in range(2):
        with pytest.raises(StripeRefusedError) as refused:
            await client.refund_or_cancel(intent, "refund:h1", HOLD)
        assert refused.value.code == "insufficient_funds"
    assert (await client.refund_or_cancel(intent, "refund:h1", HOLD)).state is PaymentState.REFUNDED
    assert len((await sim.books(intent))["refunds"]) == 1


async def test_a_disputed_payment_is_not_refunded(sim: Simulated, client: PaymentClient) -> None:
    intent = await paid(sim, await open_session(client))
    await sim.control(f"/payment_intents/{intent}/dispute")
    with pytest.raises(StripeRefusedError) as refused:
        await client.refund_or_cancel(intent, "refund:h1", HOLD)
    assert refused.value.code == "charge_disputed"


async def test_a_session_expires_at_the_requested_time(sim: Simulated, client: PaymentClient) -> None:
    ends = (now() + timedelta(minutes=35)).replace(microsecond=0)
    opened = await client.open_session({**params(), "expires_at": int(ends.timestamp())}, KEY, begun_at=now())
    assert opened.expires_at == ends
    assert opened.url is not None
    await sim.control("/clock", advance=36 * 60)
    assert (await client.check(session_id=opened.session_id)).state is PaymentState.UNPAYABLE
