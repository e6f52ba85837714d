"""The doctor on a healthy shop, and on one with a fault in its settings, at Stripe, at the API or in its clock."""

import asyncio
import json
import time
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.doctor.results import Check, State, causes_only, fault, ok, run_checks, show
from cli.doctor.settings import masked, read
from cli.main import app
from tests.operations.diagnosis import diagnose_shop, faults, result_of, variables
from tests.paying import Shop
from tests.stack import ADMIN_TOKEN, AUTHORITY_TOKEN


async def test_a_healthy_shop_has_no_fault(shop: Shop) -> None:
    corner = await shop.corner()
    paid = await corner.checkout()
    await corner.pay(paid["checkoutSessionId"])
    await corner.until_status(paid["holdId"], "committed")
    lines = await diagnose_shop(shop)
    assert faults(lines) == {}
    assert result_of(lines, "temporal", "worker answers").state is State.OK
    assert result_of(lines, "stripe", "webhooks arrive").state is State.OK
    assert result_of(lines, "database", "clock").state is result_of(lines, "temporal", "clock").state is State.OK
    skipped = {line.name for line in lines if line.state is State.NOT_APPLICABLE}
    assert skipped <= {"history shards", "holdfast_client", "turns of shops", "mail server"}  # turns: on a slow server


async def test_no_result_contains_a_secret(shop: Shop) -> None:
    given = variables(shop, DATABASE_URL="postgresql://me:hidden-password@127.0.0.1:1/holdfast?sslmode=disable")
    printed = json.dumps([line.as_json() for line in await diagnose_shop(shop, DATABASE_URL=given["DATABASE_URL"])])
    for secret in (AUTHORITY_TOKEN, ADMIN_TOKEN, "hidden-password", given["STRIPE_WEBHOOK_SECRET"]):
        assert secret not in printed


async def test_no_result_contains_a_password_or_token_of_a_url(shop: Shop) -> None:
    url = "http://me:hidden-password@127.0.0.1:1/events?token=hidden-token"
    named = (
        "HOLD_EVENTS_WEBHOOK_URL",
        "STOCK_ALERT_WEBHOOK_URL",
        "TEMPORAL_UI_URL",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    )
    given: dict[str, Any] = dict.fromkeys(named, url)
    given |= dict.fromkeys(("HOLD_EVENTS_WEBHOOK_SECRET", "STOCK_ALERT_WEBHOOK_SECRET"), "A" * 43 + "=")
    lines = await diagnose_shop(shop, **given, INVENTORY_AUTHORITY_URL=url)
    assert {result_of(lines, "settings", name).found for name in named} == {"http://me:•••@127.0.0.1:1/events"}
    assert "http://me:•••@127.0.0.1:1/events" in faults(lines)["api: answers"]
    assert "hidden" not in json.dumps([line.as_json() for line in lines])


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        ("sk_live_" + "a" * 30 + "1234", "sk_live_•••1234"),
        ("whsec_short", "whsec_•••"),
        ("postgresql://me:pass@db/holdfast?password=x", "postgresql://me:•••@db/holdfast"),
    ],
)
def test_a_masked_secret_keeps_its_prefix_and_last_characters(secret: str, shown: str) -> None:
    assert masked(secret) == shown


@pytest.mark.parametrize(
    ("line", "changes"),
    [
        ("left-overs: CRON_SECRET", {"CRON_SECRET": "x" * 64}),
        ("settings: INVENTORY_MODE", {"INVENTORY_MODE": "hold"}),
        ("settings: INVENTORY_AUTHORITY_TOKEN", {"INVENTORY_AUTHORITY_TOKEN": "your-secure-token"}),
        ("settings: INVENTORY_BACKEND", {"INVENTORY_BACKEND": "prisma"}),
        ("settings: SKIP_INVENTORY_VALIDATION", {"SKIP_INVENTORY_VALIDATION": "1"}),
        ("settings: tokens", {"INVENTORY_AUTHORITY_TOKEN": ADMIN_TOKEN}),
        ("settings: DATABASE_URL", {"DATABASE_URL": "postgresql://a@b/c?schema=public"}),
        ("settings: INVENTORY_HOLD_TTL_SECONDS", {"INVENTORY_HOLD_MAX_TTL_SECONDS": "600"}),
        ("settings: HOLD_EVENTS_WEBHOOK_SECRET", {"HOLD_EVENTS_WEBHOOK_URL": "https://a.example/b"}),
        ("stripe: keys", {"STRIPE_PUBLISHABLE_KEY": "pk_live_abc"}),
        ("stripe: keys", {"STRIPE_API_KEY": "sk_live_abc"}),
        ("stripe: webhook secret", {"STRIPE_WEBHOOK_SECRET": "sk_test_abc"}),
        ("stripe: webhook secret", {"STRIPE_WEBHOOK_SECRET": "whsec_1"}),
        ("stripe: keys", {"STRIPE_API_KEY": "from-elsewhere"}),
        ("stripe: key works", {"STRIPE_API_BASE": "http://127.0.0.1:1"}),
        ("api: answers", {"INVENTORY_AUTHORITY_URL": "http://127.0.0.1:1"}),
        ("api: answers", {"INVENTORY_MODE": "validate_only"}),
        ("api: token", {"INVENTORY_AUTHORITY_TOKEN": "c" * 40}),
    ],
)
async def test_a_wrong_setting_is_a_fault(shop: Shop, line: str, changes: dict[str, Any]) -> None:
    found = faults(await diagnose_shop(shop, **changes))
    assert line in found
    area = line.partition(":")[0]
    others = {name for name in found if not name.startswith((area, "settings"))}
    assert others <= {"api: answers", "stripe: keys"}  # which may find the same fault


async def test_an_invalid_setting_hides_no_other_result(shop: Shop) -> None:
    found = faults(await diagnose_shop(shop, "DATABASE_URL", INVENTORY_MODE="hold", CRON_SECRET="x"))
    assert set(found) == {"settings: DATABASE_URL", "settings: INVENTORY_MODE", "left-overs: CRON_SECRET"}


async def test_missing_tokens_are_a_fault(shop: Shop) -> None:
    found = faults(await diagnose_shop(shop, "INVENTORY_AUTHORITY_TOKEN", "INVENTORY_ADMIN_TOKEN"))
    assert "openssl rand -hex 32" in found["settings: tokens"]


async def test_a_stripe_key_without_a_webhook_secret_is_a_fault(shop: Shop) -> None:
    found = faults(await diagnose_shop(shop, "STRIPE_WEBHOOK_SECRET"))
    assert "stripe: webhook secret" in found


@pytest.mark.parametrize("status", [401, 403, 500])
async def test_a_key_that_stripe_rejects_is_a_fault(shop: Shop, status: int) -> None:
    await shop.stripe.control("/faults", on="api", effect="error", status=status)
    found = faults(await diagnose_shop(shop))
    await shop.stripe.control("/faults", "DELETE")
    assert set(found) == {"stripe: key works"}


@pytest.mark.parametrize("seconds", [-10.0, 10.0])
async def test_a_wrong_clock_of_this_machine_is_one_fault(shop: Shop, seconds: float) -> None:
    found = faults(await diagnose_shop(shop, now=lambda: time.time() - seconds))
    assert set(found) == {"database: clock"}
    assert "those of Postgres and Temporal" in found["database: clock"]


async def test_a_check_that_hangs_or_raises_is_a_fault_and_hides_no_other() -> None:
    async def hangs() -> list[object]:
        await asyncio.sleep(60)
        return []

    async def breaks() -> list[object]:
        raise ValueError("broken\nin two lines")

    async def works() -> list[object]:
        return [ok("a", "works", "yes")]

    checks = [Check("a", check.__name__, check) for check in (hangs, breaks, works)]  # type: ignore[arg-type]
    lines = await run_checks(checks, seconds=0.1)
    assert [(line.name, line.state) for line in lines] == [
        ("hangs", State.FAULT),
        ("breaks", State.FAULT),
        ("works", State.OK),
    ]
    assert "broken" in lines[1].found


async def test_the_command_prints_json_or_text_and_exits_with_1_for_a_fault(shop: Shop) -> None:
    given = variables(shop, CRON_SECRET="x" * 64)
    ran = await asyncio.to_thread(CliRunner().invoke, app, ["doctor", "--json"], env=given)
    answer, _ = json.JSONDecoder().raw_decode(ran.stdout, ran.stdout.index("{\n"))  # the API under test logs too
    assert (ran.exit_code, answer["ok"]) == (1, False)
    (left_over,) = [line for line in answer["lines"] if line["name"] == "CRON_SECRET"]
    assert (left_over["state"], left_over["area"]) == ("fault", "left-overs")
    ran = await asyncio.to_thread(CliRunner().invoke, app, ["doctor"], env=given)
    assert ran.exit_code == 1
    assert "✗ CRON_SECRET" in ran.stdout
    assert "✓ migrations" in ran.stdout


def printed(capsys: pytest.CaptureFixture[str], *, faults_only: bool) -> list[str]:
    results = [
        ok("a", "one", "not set"),
        fault("a", "two", "is missing", "make it"),
        ok("a", "three", "not set"),
        fault("b", "four", "cannot work", "look", ["b: none", "a: two"]),
    ]
    show(causes_only(results), as_json=False, faults_only=faults_only)
    return capsys.readouterr().out.splitlines()


def test_faults_come_first_and_what_follows_from_one_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    faults_alone = ["a", "  ✗ two: is missing", "      → make it"]
    counts = ["", "2 ✓, 1 ✗, 1 not applicable"]
    others = ["a", "  ✓ one, three: not set", "b", "  – four: cannot work; this follows from a: two"]  # noqa: RUF001
    assert printed(capsys, faults_only=False) == [*faults_alone, *others, *counts]
    assert printed(capsys, faults_only=True) == [*faults_alone, *counts]


def test_missing_and_contradictory_settings_are_all_found() -> None:
    found = read({"INVENTORY_HOLD_MAX_TTL_SECONDS": "600", "HOLD_EVENTS_WEBHOOK_URL": "https://a.example", "X": "y"})
    assert set(found.refused) == {"DATABASE_URL", "INVENTORY_HOLD_TTL_SECONDS", "HOLD_EVENTS_WEBHOOK_SECRET"}
    assert not found.database_known
    assert set(read({}).refused) == {"DATABASE_URL"}
