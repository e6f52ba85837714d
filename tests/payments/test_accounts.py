"""Shops with Stripe accounts of their own: connected ones, and ones with a key; each payment stays in its account."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.client import Client

from cli.doctor.results import State
from core.settings import Settings
from dev.harness.invariants import assert_stock_adds_up
from dev.postgres import EmbeddedPostgres
from holds.event_delivery import background_task_queue
from holds.payment_reconciliation import PaymentReconciler
from holds.payments_service import PaymentsService
from holds.service import HoldService
from holds.workflow_client import WorkflowClient
from payments.accounts import PaymentAccounts, open_accounts
from tests.operations.diagnosis import diagnose_shop, result_of
from tests.paying import LINE, PAGES, Shop, event, named, running_shop, signed
from tests.servers import database_on
from tests.simulated import API_KEY, SECRET
from tests.stack import environment
from tests.waiting import until
from workflows.payment_reconciliation import (
    PaymentReconciliationWorkflow,
    ReconcileReport,
    ReconcileRequest,
    ReconcileWindow,
)

CONNECT_SECRET, PARIS_SECRET = "whsec_connect", "whsec_paris_1234567890"
PARIS_KEY = "sk_test_paris"
BERLIN, VIENNA, PARIS, OLD = "acct_berlin", "acct_vienna", "acct_paris", "acct_old"
SHOPS = """
[berlin]
account = "acct_berlin"
application_fee_percent = 12.5
former_accounts = ["acct_old", "platform"]

[vienna]
account = "acct_vienna"
charges = "destination"
on_behalf_of = true
application_fee_amount = 150

[paris]
key_file = "{folder}/key"
webhook_secret_file = "{folder}/secret"
"""
EVERYWHERE = ("berlin", "vienna", "paris")
HELD_IN = {"berlin": BERLIN, "vienna": None, "paris": PARIS}
"""The account that has the payments of each shop: a destination charge is the platform's."""


@dataclass
class Market:
    """One product for three shops with accounts, and one without."""

    shop: Shop

    async def open(self, shop_id: str, **fields: Any) -> dict[str, Any]:
        """Hold one of a shop's item, with a page to pay on."""
        body = {"shopId": shop_id, "items": [{**LINE, "sku": self.shop.item}], **PAGES, **fields}
        answer = await self.shop.stack.http.post("/api/checkout/sessions", json=body)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def hold(self, shop_id: str) -> str:
        """Hold one of a shop's item."""
        body = {"shopId": shop_id, "items": [{"sku": self.shop.item, "quantity": 1}]}
        answer = await self.shop.stack.http.post("/api/inventory/holds", json=body)
        return str(answer.json()["holdId"])

    async def end(self, shop_id: str, hold_id: str, verb: str = "release") -> None:
        """Release or commit a hold."""
        answer = await self.shop.stack.http.post(f"/api/inventory/holds/{shop_id}/{hold_id}/{verb}")
        assert answer.status_code == 200, answer.text

    async def read(self, shop_id: str, hold_id: str) -> dict[str, Any]:
        """Read a hold."""
        read: dict[str, Any] = (await self.shop.stack.http.get(f"/api/inventory/holds/{shop_id}/{hold_id}")).json()
        return read

    async def until_status(self, shop_id: str, hold_id: str, status: str) -> None:
        """Wait until the hold is so."""

        async def is_so() -> bool:
            return bool((await self.read(shop_id, hold_id))["status"] == status)

        await until(is_so, f"{shop_id}'s {hold_id} {status}")

    async def session(self, session_id: str) -> dict[str, Any]:
        """Return a session with its account, whichever has it."""
        opened = await self.shop.stripe.control("/sessions", "GET")
        found: dict[str, Any] = next(each for each in opened if each["session"] == session_id)
        return found

    async def accounts_called(self, *operations: str) -> set[str | None]:
        """Return the accounts in which these operations were called."""
        calls = await self.shop.stripe.control("/calls", "GET")
        return {call["account"] for call in calls if call["operation"] in operations}

    async def tell(self, body: dict[str, Any], secret: str) -> str:
        """Bring an event signed with this secret, and return what was done."""
        raw = json.dumps(body).encode()
        answer = await self.shop.send(raw, signed(raw, secret))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["result"])


@pytest.fixture(scope="module")
async def whole(
    postgres: EmbeddedPostgres, migrated_template: str, temporal: Client, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Shop]:
    """One product for the module."""
    folder = tmp_path_factory.mktemp("accounts")
    (folder / "key").write_text(f"{PARIS_KEY}\n")
    (folder / "secret").write_text(f"{PARIS_SECRET}\n")
    (folder / "shops.toml").write_text(SHOPS.format(folder=folder))
    stripe: dict[str, Any] = {"api_key": API_KEY, "accounts": (BERLIN, VIENNA, OLD), "keys": ((PARIS_KEY, PARIS),)}
    settings: dict[str, Any] = {
        "STRIPE_SHOPS": (folder / "shops.toml").read_text(),
        "STRIPE_WEBHOOK_SECRET": f"{SECRET},{CONNECT_SECRET}",
        "STRIPE_APPROVAL_SECRET": SECRET,
    }
    with database_on(postgres, migrated_template) as database:
        async with running_shop(database, temporal, stripe=stripe, **settings) as shop:
            hook = f"{shop.stack.url}/api/webhooks/stripe"
            endpoints = [
                {"url": hook, "secrets": [SECRET]},
                {"url": hook, "secrets": [CONNECT_SECRET], "connect": True},
                {"url": hook, "secrets": [PARIS_SECRET], "account": PARIS},
            ]
            await shop.stripe.control("/webhooks/endpoints", "PUT", endpoints=endpoints)
            yield shop


@pytest.fixture
async def market(whole: Shop) -> Market:
    """The shops with ten each of an item that no other test asks for."""
    corner = await whole.corner()
    for shop_id in EVERYWHERE:
        items = [{"sku": corner.item, "onHand": 10}]
        answer = await whole.stack.http.put("/api/inventory/items", json={"shopId": shop_id, "items": items})
        assert answer.status_code == 200, answer.text
    whole.stripe.account.calls.clear()
    return Market(corner)


@pytest.mark.parametrize("shop_id", EVERYWHERE)
async def test_a_page_is_opened_paid_and_sold_in_the_account_of_its_shop(market: Market, shop_id: str) -> None:
    made = await market.open(shop_id)
    await market.shop.pay(made["checkoutSessionId"])

    await market.until_status(shop_id, made["holdId"], "committed")
    books = await market.shop.stripe.books(made["checkoutSessionId"])
    assert (books["account"], books["net"]) == (HELD_IN[shop_id], 1999)
    shares = {"berlin": (250, 0), "vienna": (150, 1999), "paris": (0, 0)}  # 12.5 % of 1999 is 249.875
    assert (books["application_fee"], books["transferred"]) == shares[shop_id]
    assert await market.accounts_called("checkout.sessions.create") == {HELD_IN[shop_id]}
    await assert_stock_adds_up(market.shop.stack.engine)


async def test_a_destination_charge_is_on_behalf_of_the_connected_account(market: Market) -> None:
    made = await market.open("vienna")
    await market.shop.pay(made["checkoutSessionId"])
    intent = await market.shop.stripe.stripe.v1.payment_intents.retrieve_async(
        await market.shop.intent_of(made["checkoutSessionId"])
    )
    assert intent.transfer_data is not None
    assert (intent.on_behalf_of, intent.transfer_data.destination) == (VIENNA, VIENNA)


@pytest.mark.parametrize("shop_id", EVERYWHERE)
async def test_a_released_hold_closes_its_page_in_its_account(market: Market, shop_id: str) -> None:
    made = await market.open(shop_id)
    await market.end(shop_id, made["holdId"])

    session = await market.session(made["checkoutSessionId"])
    assert (session["account"], session["status"]) == (HELD_IN[shop_id], "expired")
    closing = ("checkout.sessions.expire", "checkout.sessions.retrieve")
    assert await market.accounts_called(*closing) == {HELD_IN[shop_id]}


@pytest.mark.parametrize("shop_id", EVERYWHERE)
async def test_a_second_payment_is_refunded_in_its_account_with_fee_and_transfer(market: Market, shop_id: str) -> None:
    made = await market.open(shop_id)
    await market.end(shop_id, made["holdId"])
    await take_all(market, shop_id)
    await market.shop.pay(made["checkoutSessionId"], late="complete")

    async def refunded() -> bool:
        books = await market.shop.stripe.books(made["checkoutSessionId"])
        return bool(books["refunds"])

    await until(refunded, "the late payment is refunded")
    books = await market.shop.stripe.books(made["checkoutSessionId"])
    assert books["account"] == HELD_IN[shop_id]
    assert (books["net"], books["application_fee"], books["transferred"]) == (0, 0, 0)
    assert await market.accounts_called("refunds.create") == {HELD_IN[shop_id]}


async def take_all(market: Market, shop_id: str) -> None:
    """Sell everything that is left of the item."""
    body = {"shopId": shop_id, "items": [{"sku": market.shop.item, "quantity": 10}]}
    answer = await market.shop.stack.http.post("/api/inventory/holds", json=body)
    await market.end(shop_id, answer.json()["holdId"], "commit")


async def test_a_page_from_before_the_account_changed_is_closed_where_it_is(market: Market) -> None:
    old = market.shop.stripe.account.member(OLD)
    hold_id = await market.hold("berlin")
    session_id = await shops_own_session(market, hold_id, "berlin", account=OLD)
    answer = await attach(market, "berlin", hold_id, session_id)
    assert answer.status_code == 200, answer.text

    await market.end("berlin", hold_id)

    assert old.store.sessions[session_id].status == "expired"


async def shops_own_session(market: Market, hold_id: str, shop_id: str, *, account: str | None) -> str:
    """Open a session of the shop's own in this account."""
    price = {"currency": "eur", "unit_amount": 1999, "product_data": {"name": "T-shirt"}}
    metadata = named(hold_id, shop_id)
    session = await market.shop.stripe.stripe.v1.checkout.sessions.create_async(
        {
            "mode": "payment",
            "line_items": [{"quantity": 1, "price_data": price}],
            "success_url": PAGES["successUrl"],
            "metadata": metadata,
            "payment_intent_data": {"metadata": metadata},
        },  # type: ignore[arg-type]
        {"stripe_account": account} if account else {},
    )
    return session.id


async def attach(market: Market, shop_id: str, hold_id: str, session_id: str) -> httpx.Response:
    path = f"/api/inventory/holds/{shop_id}/{hold_id}/payment"
    return await market.shop.stack.http.post(path, json={"checkoutSessionId": session_id})


async def test_a_payment_of_another_account_cannot_be_attached(market: Market) -> None:
    hold_id = await market.hold("berlin")
    foreign = await shops_own_session(market, hold_id, "berlin", account=VIENNA)
    answer = await attach(market, "berlin", hold_id, foreign)
    assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, "checkoutSessionId")


def paid(hold_id: str, shop_id: str, **fields: Any) -> dict[str, Any]:
    intent = {"id": f"pi_{hold_id}", "object": "payment_intent", "metadata": named(hold_id, shop_id)}
    return event("payment_intent.succeeded", intent, **fields)


async def test_nobody_sells_a_hold_by_a_payment_in_another_shops_account(market: Market) -> None:
    holds = {shop_id: await market.hold(shop_id) for shop_id in EVERYWHERE}
    forged = [
        (paid(holds["berlin"], "berlin", account=VIENNA), CONNECT_SECRET),
        (paid(holds["berlin"], "berlin"), PARIS_SECRET),
        (paid(holds["vienna"], "vienna", account=BERLIN), CONNECT_SECRET),
        (paid(holds["paris"], "paris"), SECRET),
        (paid(holds["paris"], "paris", account=BERLIN), CONNECT_SECRET),
    ]
    assert {await market.tell(body, secret) for body, secret in forged} == {"wrong_account"}
    for shop_id, hold_id in holds.items():
        assert (await market.read(shop_id, hold_id))["status"] == "active"
    assert await market.tell(paid(holds["berlin"], "berlin", account=BERLIN), CONNECT_SECRET) == "told"


async def test_an_event_of_an_unknown_account_is_taken_in_and_counted(market: Market) -> None:
    hold_id = await market.hold("berlin")
    before = market.shop.stack.counted("inventory_stripe_event", result="unknown_account")
    assert await market.tell(paid(hold_id, "berlin", account="acct_nobody"), CONNECT_SECRET) == "unknown_account"
    assert await market.tell(paid(hold_id, "berlin", account=["rubbish"]), CONNECT_SECRET) == "unknown_account"
    assert market.shop.stack.counted("inventory_stripe_event", result="unknown_account") == before + 2
    assert (await market.read("berlin", hold_id))["status"] == "active"


async def test_a_percentage_needs_lines_with_amounts(market: Market) -> None:
    body = {"shopId": "berlin", "items": [{"sku": market.shop.item, "quantity": 1, "price": "price_1"}], **PAGES}
    answer = await market.shop.stack.http.post("/api/checkout/sessions", json=body)
    assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, "items[0].price")
    body = {"shopId": "berlin", "items": [{**LINE, "sku": market.shop.item}], **PAGES}
    extra = {"extraLines": [{"quantity": 1, "price": "price_1"}]}
    answer = await market.shop.stack.http.post("/api/checkout/sessions", json=body | extra)
    assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, "extraLines[0].price")


async def test_an_order_of_another_shops_account_is_not_approved(market: Market) -> None:
    hold_id = await market.hold("berlin")
    for account, decision in ((BERLIN, "approved"), ("acct_platform", "approved"), (VIENNA, "declined")):
        data = {"metadata": named(hold_id, "berlin")}
        kind = "v1.delegated_checkout.finalize_checkout"
        body = json.dumps({"id": "1", "type": kind, "livemode": False, "context": account, "data": data}).encode()
        answer = await market.shop.stack.http.post(
            "/api/checkout/approvals", content=body, headers={"Stripe-Signature": signed(body, SECRET)}
        )
        assert answer.json()["manual_approval_details"]["type"] == decision


async def test_the_doctor_checks_each_account(market: Market, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk_test_of_nobody")
    (tmp_path / "secret").write_text(PARIS_SECRET)
    shops = SHOPS.format(folder=tmp_path).replace(OLD, "acct_gone")
    lines = await diagnose_shop(market.shop, STRIPE_SHOPS=shops)
    assert result_of(lines, "stripe", "account acct_berlin").state is State.OK
    assert result_of(lines, "stripe", "account acct_vienna").state is State.OK
    assert result_of(lines, "stripe", "account acct_gone").state is State.FAULT
    assert result_of(lines, "stripe", "key of shop paris").state is State.FAULT


async def test_a_worker_of_another_configuration_opens_and_closes_no_page_in_another_account(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = market.shop.stack
    made = await market.open("berlin")
    market.shop.stripe.account.calls.clear()
    without = environment("postgresql://nobody-asks", STRIPE_API_KEY=API_KEY, STRIPE_API_BASE=market.shop.stripe.url)
    async with open_accounts(Settings.read(without)) as others:
        monkeypatch.setattr(stack.payments, "_accounts", others)
        body = {"shopId": "berlin", "items": [{**LINE, "sku": market.shop.item}], **PAGES}
        answer = await stack.http.post("/api/checkout/sessions", json=body)
        assert (answer.status_code, answer.json()["error"]) == (503, "payments_not_configured")
        assert "shop berlin has no payments in the Stripe account acct_berlin" in answer.json()["message"]
        assert (await market.read("berlin", answer.json()["holdId"]))["status"] == "released"
        before = stack.counted("inventory_hold_error")
        released = asyncio.create_task(market.end("berlin", made["holdId"]))

        async def tried() -> bool:
            return stack.counted("inventory_hold_error") > before

        await until(tried, "the worker tries to close the page")
        assert not market.shop.stripe.account.calls
        assert (await market.read("berlin", made["holdId"]))["status"] == "active"
        monkeypatch.undo()
        await released
    assert (await market.session(made["checkoutSessionId"]))["status"] == "expired"


async def test_an_event_costs_one_question_to_stripe_however_many_accounts_the_shop_had(market: Market) -> None:
    await market.shop.stripe.control("/faults", on="webhook", effect="hold", match="*", times=None)
    made = await market.open("berlin")
    await market.shop.pay(made["checkoutSessionId"])
    intent = {"id": await market.shop.intent_of(made["checkoutSessionId"]), "object": "payment_intent"}
    market.shop.stripe.account.calls.clear()
    body = event("payment_intent.succeeded", intent | {"metadata": named(made["holdId"], "berlin")}, account=BERLIN)
    assert await market.tell(body, CONNECT_SECRET) == "told"
    await market.until_status("berlin", made["holdId"], "committed")
    assert [call.operation for call in market.shop.stripe.account.calls] == ["payment_intents.retrieve"]
    await market.shop.stripe.control("/webhooks/release")


async def reconcile(market: Market) -> ReconcileReport:
    """Compare the payments of all accounts with holds, as every day."""
    return await market.shop.stack.temporal.execute_workflow(
        PaymentReconciliationWorkflow.run,
        ReconcileRequest(),
        id=f"payments-{market.shop.item}",
        task_queue=background_task_queue(market.shop.stack.task_queue),
    )


async def found_by_hand(market: Market, hold_id: str, accounts: PaymentAccounts) -> list[str]:
    """Compare the payments of three days with holds, as the command does; return what is found of this hold."""
    stack, now, after = market.shop.stack, datetime.now(UTC), None
    workflows = WorkflowClient(stack.temporal, stack.task_queue)
    holds = HoldService(stack.engine, workflows, stack.settings)
    payments = PaymentsService(stack.engine, holds, workflows, stack.settings, accounts)
    reconciler = PaymentReconciler(stack.engine, payments, workflows, accounts)
    found = list[str]()
    while True:
        page = await reconciler.page(ReconcileWindow(now - timedelta(days=3), now, after), dry_run=True)
        found += [each.kind for each in page.found if each.hold_id == hold_id]
        if (after := page.next_after) is None:
            return found


async def paid_in_berlin(market: Market) -> str:
    """Return a hold of Vienna's that a payment in Berlin's account names, made before the last daily run but one."""
    await market.shop.stripe.control("/clock", reset=True)
    await market.shop.stripe.control("/clock", advance=-49 * 3600)
    hold_id = await market.hold("vienna")
    await market.shop.pay(await shops_own_session(market, hold_id, "vienna", account=BERLIN))
    return hold_id


async def test_a_payment_in_a_wrong_account_is_told_of_by_one_daily_run(market: Market) -> None:
    await market.shop.stripe.control("/faults", on="webhook", effect="drop", match="*", times=None)
    try:
        hold_id = await paid_in_berlin(market)
        assert (await reconcile(market)).found == {}
        async with open_accounts(market.shop.stack.settings) as accounts:
            assert await found_by_hand(market, hold_id, accounts) == ["wrong_account"]
    finally:
        await market.shop.stripe.control("/clock", reset=True)


async def test_a_payment_in_an_account_that_two_shops_have_keys_of_is_in_no_wrong_one(
    market: Market, tmp_path: Path
) -> None:
    await market.shop.stripe.control("/faults", on="webhook", effect="drop", match="*", times=None)
    keys = {"sk_test_of_berlin": BERLIN, "sk_test_of_vienna": BERLIN}
    account = '[{0}]\nkey_file = "{1}/{0}"\nwebhook_secret_file = "{1}/secret"\n'
    (tmp_path / "secret").write_text(PARIS_SECRET)
    for shop_id in ("berlin", "vienna"):
        (tmp_path / shop_id).write_text(f"sk_test_of_{shop_id}")
    stripe = {"STRIPE_API_KEY": "", "STRIPE_API_BASE": market.shop.stripe.url}
    shops = "\n".join(account.format(shop_id, tmp_path) for shop_id in ("berlin", "vienna"))
    settings = Settings.read(environment("postgresql://nobody-asks", STRIPE_SHOPS=shops, **stripe))
    accounts_before = {"accounts": [BERLIN, VIENNA, OLD], "keys": {PARIS_KEY: PARIS}}
    try:
        hold_id = await paid_in_berlin(market)
        await market.shop.stripe.control("/accounts", "PUT", accounts=[], keys=keys)
        async with open_accounts(settings) as accounts:
            assert len(accounts.each) == len(keys)
            assert await found_by_hand(market, hold_id, accounts) == ["active"]
    finally:
        await market.shop.stripe.control("/accounts", "PUT", **accounts_before)
        await market.shop.stripe.control("/clock", reset=True)


async def test_the_reconciliation_reports_wrong_and_refused_accounts(market: Market) -> None:
    counted = market.shop.stack.counted
    await market.shop.stripe.control("/faults", on="webhook", effect="drop", match="*", times=None)
    await market.shop.stripe.control("/clock", advance=-3600)  # what was just paid is left to its event
    try:
        hold_id = await market.hold("vienna")
        session_id = await shops_own_session(market, hold_id, "vienna", account=BERLIN)
        await market.shop.pay(session_id)
        wrong, complete = (
            counted("inventory_unheard_payment", kind="wrong_account"),
            counted("inventory_reconciliation"),
        )
        assert (await reconcile(market)).found == {"wrong_account": 1}
        assert counted("inventory_unheard_payment", kind="wrong_account") == wrong + 1
        assert counted("inventory_reconciliation") == complete + 1
        refusal = {"on": "api", "effect": "error", "match": "payment_intents.list", "status": 403, "times": 1}
        await market.shop.stripe.control("/faults", **refusal)
        assert (await reconcile(market)).unread == 1
        assert counted("inventory_reconciliation") == complete + 1
    finally:
        await market.shop.stripe.control("/clock", reset=True)
    assert (await market.read("vienna", hold_id))["status"] == "active"
