"""`holdfast smoke` on the product as it runs, and on one with a fault: it says so, and leaves nothing behind."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from temporalio.client import Client
from typer.testing import CliRunner

from cli.main import app
from cli.smoke.shop import SHOP, Access
from cli.smoke.shop import Shop as SmokeShop
from cli.smoke.steps import Notes
from cli.smoke.story import smoke
from tests.paying import Shop
from tests.simulated import SECRET
from tests.stack import ADMIN_TOKEN, AUTHORITY_TOKEN, Stack, environment, running_stack


def access(url: str) -> Access:
    return Access(url, AUTHORITY_TOKEN, ADMIN_TOKEN, SECRET)


async def smoked(of: Access, **options: Any) -> Notes:
    """Run it as the command does, beside the API that serves in this process."""
    notes = Notes()
    await asyncio.to_thread(smoke, of, notes, **options)
    return notes


async def left_behind(stack: Stack) -> list[dict[str, Any]]:
    """Return what the reserved shop still has: active holds, and items with stock."""
    holds = await stack.http.get("/api/inventory/holds", params={"shopId": SHOP, "status": "active"})
    items = await stack.http.get("/api/inventory/items", params={"shopId": SHOP})
    return [*holds.json()["holds"], *(item for item in items.json()["items"] if item["onHand"])]


def said(notes: Notes) -> str:
    return json.dumps(notes.as_json())


@pytest.fixture
async def fresh(database: str, temporal: Client) -> AsyncIterator[Stack]:
    """The product, without a worker, and without patience for one."""
    variables: dict[str, Any] = {"STRIPE_WEBHOOK_SECRET": SECRET, "INVENTORY_REQUEST_TIMEOUT_MS": "500"}
    async with running_stack(database, temporal, with_worker=False, **variables) as running:
        yield running


async def test_a_checkout_is_paid_another_given_back_and_a_third_refused(shop: Shop) -> None:
    notes = await smoked(access(shop.stack.url))
    assert notes.ok, said(notes)
    assert [step.name for step in notes.steps] == [
        "health",
        "set stock",
        "validate",
        "validate too many",
        "hold",
        "stock while held",
        "webhook",
        "commit seen",
        "stock after the sale",
        "second hold",
        "release",
        "stock after the release",
        "hold too many",
        "clean up",
    ]
    found = {step.name: step.found for step in notes.steps}
    assert found["stock while held"] == "3 for sale, 2 held"
    assert found["commit seen"].startswith("by pi_smoke_")
    assert found["stock after the release"] == "3 for sale, 0 held"
    assert found["hold too many"] == "409: 3 of 6"
    assert all(step.milliseconds > 0 for step in notes.steps)
    assert await left_behind(shop.stack) == []


async def test_with_expiry_a_hold_expires_and_its_stock_comes_back(shop: Shop) -> None:
    notes = await smoked(access(shop.stack.url), with_expiry=True)
    assert notes.ok, said(notes)
    (expiry,) = [step for step in notes.steps if step.name == "expiry"]
    assert "ms after its deadline" in expiry.found
    assert 25_000 < expiry.milliseconds < 45_000
    assert await left_behind(shop.stack) == []


async def test_without_a_webhook_secret_it_commits_and_says_that_no_webhook_was_tried(shop: Shop) -> None:
    notes = await smoked(replace(access(shop.stack.url), webhook_secret=None))
    assert notes.ok, said(notes)
    assert "STRIPE_WEBHOOK_SECRET is not set" in notes.said[0]
    assert "commit" in [step.name for step in notes.steps]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"admin_token": "x" * 40}, "was answered 401"),
        ({"admin_token": AUTHORITY_TOKEN}, "the admin token is needed"),
        ({"authority_token": "x" * 40}, "set INVENTORY_AUTHORITY_TOKEN"),
        ({"webhook_secret": "whsec_another"}, "set STRIPE_WEBHOOK_SECRET as the API has it"),
        ({"origin": "http://127.0.0.1:1"}, "is `holdfast api` running there?"),
    ],
)
async def test_a_wrong_token_secret_or_address_is_named(shop: Shop, changes: dict[str, str], told: str) -> None:
    notes = await smoked(replace(access(shop.stack.url), **changes))
    assert not notes.ok
    assert told in said(notes)
    assert await left_behind(shop.stack) == []


async def test_another_server_is_told_from_holdfast(shop: Shop) -> None:
    notes = await smoked(replace(access(shop.stack.url), origin=shop.stripe.url))
    assert [step.ok for step in notes.steps] == [False]
    assert "is no Holdfast" in said(notes)


async def test_without_a_worker_it_says_so_and_leaves_no_stock(fresh: Stack) -> None:
    notes = await smoked(access(fresh.url), patience=1)
    assert not notes.ok
    assert "is a worker running?" in said(notes)
    items = (await fresh.http.get("/api/inventory/items", params={"shopId": SHOP})).json()["items"]
    assert [item["onHand"] for item in items] == [0]


async def test_a_worker_that_stops_before_the_payment_leaves_a_commit_that_is_not_seen(
    fresh: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, loop = fresh.worker(), asyncio.get_running_loop()
    working = asyncio.create_task(worker.run())
    pay = SmokeShop.pay

    def stops_first(self: SmokeShop, hold_id: str) -> None:
        asyncio.run_coroutine_threadsafe(worker.shutdown(), loop).result(60)
        pay(self, hold_id)

    monkeypatch.setattr(SmokeShop, "pay", stops_first)
    monkeypatch.setattr("cli.smoke.story._COMMIT_PATIENCE_SECONDS", 1.0)
    notes = await smoked(access(fresh.url), patience=1)
    await working
    told = said(notes)
    assert "is still active after 1 s, not committed: is a worker running?" in told
    (clean_up,) = [step for step in notes.steps if step.name == "clean up"]
    assert not clean_up.ok
    assert "may still be active, until its deadline" in clean_up.found


async def test_ctrl_c_in_the_middle_releases_what_is_held(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_self: SmokeShop, _hold_id: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SmokeShop, "pay", interrupted)
    given = {
        **environment("postgresql://nobody@127.0.0.1:1/nothing"),
        "INVENTORY_AUTHORITY_URL": f"{shop.stack.url}/api/inventory",
        "STRIPE_WEBHOOK_SECRET": SECRET,
    }
    ran = await asyncio.to_thread(_invoke, given, "smoke", "--json")
    assert ran[0] == 130
    told, _ = json.JSONDecoder().raw_decode(ran[1], ran[1].index("{\n"))  # the API under test logs beside it
    assert told["steps"][-1]["name"] == "clean up"
    assert told["steps"][-1]["ok"]
    assert "Interrupted" in told["notChecked"][-1]
    assert await left_behind(shop.stack) == []


async def test_validate_only_and_bypass_say_what_was_not_checked(database: str, temporal: Client) -> None:
    modes: list[tuple[dict[str, Any], str]] = [
        ({"INVENTORY_MODE": "validate_only"}, "The mode is validate_only"),
        ({"SKIP_INVENTORY_VALIDATION": "1"}, "The bypass is in force"),
    ]
    for changes, told in modes:
        async with running_stack(database, temporal, **changes) as stack:
            notes = await smoked(access(stack.url))
            assert notes.ok, said(notes)
            assert told in notes.said[0]
            assert await left_behind(stack) == []
    with psycopg.connect(database) as connection:
        assert connection.execute('SELECT count(*) FROM "InventoryHold"').fetchone() == (0,)


def _invoke(given: dict[str, str], *arguments: str) -> tuple[int, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cli.smoke.command.signal.signal", lambda *_: None)  # a thread of the test may set no handler
        ran = CliRunner().invoke(app, list(arguments), env=given)
    return ran.exit_code, ran.stdout


async def test_the_command_prints_its_steps_and_exits_with_1_for_a_fault(shop: Shop) -> None:
    given = {
        **environment("postgresql://nobody@127.0.0.1:1/nothing"),
        "INVENTORY_AUTHORITY_URL": shop.stack.url,
        "STRIPE_WEBHOOK_SECRET": SECRET,
    }
    code, printed = await asyncio.to_thread(_invoke, given, "smoke")
    assert code == 0, printed
    assert "✓  commit seen" in printed
    assert "The checkout works." in printed
    code, printed = await asyncio.to_thread(_invoke, {**given, "INVENTORY_ADMIN_TOKEN": "x" * 40}, "smoke")
    assert (code, "✗" in printed) == (1, True)
