"""Connected accounts and accounts with keys of their own: what happens in one is not seen in another."""

from typing import Any

import pytest
from stripe import InvalidRequestError, StripeClient
from stripe import PermissionError as NoAccessError

from dev.simulator.account import Account
from dev.simulator.config import Config
from tests.simulated import Inbox, Simulated, stripe_client
from tests.simulator.shop import checkout, paid

CONNECTED, OTHER, OWN = "acct_connected", "acct_other", "acct_own"
OWN_KEY = "sk_test_own"


@pytest.fixture
async def connected(sim: Simulated) -> Simulated:
    """A platform with two connected accounts, and an account with a key of its own."""
    await sim.control("/accounts", "PUT", accounts=[CONNECTED, OTHER], keys={OWN_KEY: OWN})
    return sim


def in_account(account: str, **options: str) -> Any:
    return {"stripe_account": account, **options}


async def test_a_session_is_seen_in_its_own_account_only(connected: Simulated) -> None:
    sessions = connected.stripe.v1.checkout.sessions
    direct = await sessions.create_async(checkout(), in_account(CONNECTED, idempotency_key="k"))
    others = await sessions.create_async(checkout(), in_account(OTHER, idempotency_key="k"))
    assert direct.id != others.id
    assert (await sessions.retrieve_async(direct.id, {}, in_account(CONNECTED))).id == direct.id
    async with stripe_client(connected.url, api_key=OWN_KEY) as own:
        elsewhere: list[tuple[StripeClient, Any]] = [
            (connected.stripe, {}),
            (connected.stripe, in_account(OTHER)),
            (own, {}),
        ]
        for client, options in elsewhere:
            with pytest.raises(InvalidRequestError) as unknown:
                await client.v1.checkout.sessions.retrieve_async(direct.id, {}, options)
            assert unknown.value.code == "resource_missing"
            listed = await client.v1.checkout.sessions.list_async({}, options)
            assert direct.id not in [each.id for each in listed.data]


async def test_a_key_acts_only_as_the_accounts_that_are_connected_to_it(connected: Simulated) -> None:
    async with stripe_client(connected.url, api_key=OWN_KEY) as own:
        for client, account in ((connected.stripe, "acct_unknown"), (connected.stripe, OWN), (own, CONNECTED)):
            with pytest.raises(NoAccessError):
                await client.v1.checkout.sessions.list_async({}, in_account(account))


async def test_a_fee_and_a_transfer_are_in_the_payment_and_a_refund_gives_them_back(connected: Simulated) -> None:
    v1 = connected.stripe.v1
    terms = {"application_fee_amount": 300, "transfer_data": {"destination": CONNECTED}, "on_behalf_of": CONNECTED}
    session = await v1.checkout.sessions.create_async(checkout(payment_intent_data=terms))
    intent_id = await paid(connected, session)
    intent = await v1.payment_intents.retrieve_async(intent_id, {"expand": ["latest_charge"]})
    assert (intent.application_fee_amount, intent.on_behalf_of) == (300, CONNECTED)
    books = await connected.books(intent_id)
    assert (books["net"], books["application_fee"], books["transferred"]) == (2500, 300, 2500)

    back: Any = {"payment_intent": intent_id, "refund_application_fee": True, "reverse_transfer": True}
    await v1.refunds.create_async(back)
    books = await connected.books(intent_id)
    assert (books["net"], books["application_fee"], books["transferred"]) == (0, 0, 0)


async def test_the_platform_takes_no_fee_of_its_own_payments(connected: Simulated) -> None:
    sessions, params = (
        connected.stripe.v1.checkout.sessions,
        checkout(payment_intent_data={"application_fee_amount": 1}),
    )
    await sessions.create_async(params, in_account(CONNECTED))
    with pytest.raises(InvalidRequestError) as refused:
        await sessions.create_async(params)
    assert refused.value.param == "payment_intent_data[application_fee_amount]"


async def test_an_endpoint_of_the_platform_gets_nothing_of_a_connected_account(
    connected: Simulated, box: Inbox
) -> None:
    direct = await connected.stripe.v1.checkout.sessions.create_async(checkout(), in_account(CONNECTED))
    await paid(connected, direct)
    await paid(connected, await connected.stripe.v1.checkout.sessions.create_async(checkout()))
    await box.wait_for("checkout.session.completed")
    assert direct.id not in [each["data"]["object"]["id"] for each in box.events]
    assert not any("account" in each for each in box.events)


async def test_accounts_stay_apart_across_a_restart(connected: Simulated) -> None:
    direct = await connected.stripe.v1.checkout.sessions.create_async(checkout(), in_account(CONNECTED))
    restarted = Account(Config())
    restarted.load(connected.account.dump())
    assert direct.id in restarted.member(CONNECTED).store.sessions
    assert direct.id not in restarted.store.sessions
