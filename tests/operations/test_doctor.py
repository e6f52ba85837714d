"""The doctor on a healthy shop, and on one with a fault in its settings, at Stripe, at the API or in its clock."""

import asyncio
import json
import time
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.doctor.lines import Check, State, carried_out, ok
from cli.doctor.settings import masked, read
from cli.main import app
from tests.operations.examining import examine, faults, said, variables
from tests.paying import Shop
from tests.stack import ADMIN_TOKEN, AUTHORITY_TOKEN


async def test_a_healthy_shop_has_no_fault(shop: Shop) -> None:
    corner = await shop.corner()
    paid = await corner.checkout()
    await corner.pay(paid["checkoutSessionId"])
    await corner.until_status(paid["holdId"], "committed")
    lines = await examine(shop)
    assert faults(lines) == {}
    assert said(lines, "temporal", "worker answers").state is State.OK
    assert said(lines, "stripe", "webhooks arrive").state is State.OK
    assert said(lines, "database", "clock").state is said(lines, "temporal", "clock").state is State.OK
    not_looked_at = {line.name for line in lines if line.state is State.NOT_APPLICABLE}
    assert not_looked_at <= {"history shards", "holdfast_client"}


async def test_no_line_has_a_secret(shop: Shop) -> None:
    given = variables(shop, DATABASE_URL="postgresql://me:hidden-password@127.0.0.1:1/holdfast?sslmode=disable")
    told = json.dumps([line.as_json() for line in await examine(shop, DATABASE_URL=given["DATABASE_URL"])])
    for secret in (AUTHORITY_TOKEN, ADMIN_TOKEN, "hidden-password", given["STRIPE_WEBHOOK_SECRET"]):
        assert secret not in told


async def test_no_line_has_a_password_or_token_of_a_url(shop: Shop) -> None:
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
    lines = await examine(shop, **given, INVENTORY_AUTHORITY_URL=url)
    assert {said(lines, "settings", name).found for name in named} == {"http://me:•••@127.0.0.1:1/events"}
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
def test_a_secret_is_masked_but_can_be_told_from_another(secret: str, shown: str) -> None:
    assert masked(secret) == shown


@pytest.mark.parametrize(
    ("line", "told", "changes"),
    [
        ("left-overs: CRON_SECRET", "take CRON_SECRET out", {"CRON_SECRET": "x" * 64}),
        ("settings: INVENTORY_MODE", "'hold' is not allowed", {"INVENTORY_MODE": "hold"}),
        ("settings: INVENTORY_AUTHORITY_TOKEN", "placeholder", {"INVENTORY_AUTHORITY_TOKEN": "your-secure-token"}),
        ("settings: INVENTORY_BACKEND", "INVENTORY_BACKEND=postgres", {"INVENTORY_BACKEND": "prisma"}),
        ("settings: SKIP_INVENTORY_VALIDATION", "the bypass is in force", {"SKIP_INVENTORY_VALIDATION": "1"}),
        ("settings: tokens", "both authority and admin", {"INVENTORY_AUTHORITY_TOKEN": ADMIN_TOKEN}),
        ("settings: DATABASE_URL", "only Prisma knows: schema", {"DATABASE_URL": "postgresql://a@b/c?schema=public"}),
        ("settings: INVENTORY_HOLD_TTL_SECONDS", "1200 is above", {"INVENTORY_HOLD_MAX_TTL_SECONDS": "600"}),
        ("settings: HOLD_EVENTS_WEBHOOK_SECRET", "is not set", {"HOLD_EVENTS_WEBHOOK_URL": "https://a.example/b"}),
        ("stripe: keys", "STRIPE_PUBLISHABLE_KEY is a live key", {"STRIPE_PUBLISHABLE_KEY": "pk_live_abc"}),
        ("stripe: keys", "is a live key, and STRIPE_API_BASE", {"STRIPE_API_KEY": "sk_live_abc"}),
        ("stripe: webhook secret", "is not the signing secret", {"STRIPE_WEBHOOK_SECRET": "sk_test_abc"}),
        ("stripe: webhook secret", "too short", {"STRIPE_WEBHOOK_SECRET": "whsec_1"}),
        ("stripe: keys", "STRIPE_API_KEY", {"STRIPE_API_KEY": "from-elsewhere"}),
        ("stripe: key works", "127.0.0.1:1", {"STRIPE_API_BASE": "http://127.0.0.1:1"}),
        ("api: answers", "127.0.0.1:1", {"INVENTORY_AUTHORITY_URL": "http://127.0.0.1:1"}),
        ("api: answers", "this environment says validate_only", {"INVENTORY_MODE": "validate_only"}),
        ("api: token", "does not know", {"INVENTORY_AUTHORITY_TOKEN": "c" * 40}),
    ],
)
async def test_a_wrong_setting_is_named(shop: Shop, line: str, told: str, changes: dict[str, Any]) -> None:
    found = faults(await examine(shop, **changes))
    assert told in found[line]
    area = line.partition(":")[0]
    others = {name for name in found if not name.startswith((area, "settings"))}
    assert others <= {"api: answers", "stripe: keys"}  # which may see the same fault from their side


async def test_a_refused_setting_hides_no_other_line(shop: Shop) -> None:
    found = faults(await examine(shop, "DATABASE_URL", INVENTORY_MODE="hold", CRON_SECRET="x"))
    assert set(found) == {
        "settings: DATABASE_URL",
        "settings: INVENTORY_MODE",
        "left-overs: CRON_SECRET",
        "api: answers",
    }


async def test_no_token_at_all_is_named(shop: Shop) -> None:
    found = faults(await examine(shop, "INVENTORY_AUTHORITY_TOKEN", "INVENTORY_ADMIN_TOKEN"))
    assert "openssl rand -hex 32" in found["settings: tokens"]


async def test_a_stripe_key_without_a_webhook_secret_is_named(shop: Shop) -> None:
    found = faults(await examine(shop, "STRIPE_WEBHOOK_SECRET"))
    assert "webhooks are answered 503" in found["stripe: webhook secret"]


@pytest.mark.parametrize(
    ("status", "told"), [(401, "does not know"), (403, "may not read"), (500, "Stripe answered 500")]
)
async def test_a_key_with_which_stripe_does_nothing_is_named(shop: Shop, status: int, told: str) -> None:
    await shop.stripe.control("/faults", on="api", effect="error", status=status)
    found = faults(await examine(shop))
    await shop.stripe.control("/faults", "DELETE")
    assert set(found) == {"stripe: key works"}
    assert told in found["stripe: key works"]


@pytest.mark.parametrize("seconds", [-10.0, 10.0])
async def test_a_clock_that_is_wrong_is_named_against_both_servers(shop: Shop, seconds: float) -> None:
    found = faults(await examine(shop, now=lambda: time.time() - seconds))
    which = "ahead of" if seconds > 0 else "behind"
    assert set(found) == {"database: clock", "temporal: clock"}
    for line in found.values():
        assert f"s {which} this machine's" in line
        assert "chronyc" in line


async def test_a_check_that_hangs_or_breaks_is_a_line_of_its_own() -> None:
    async def hangs() -> list[object]:
        await asyncio.sleep(60)
        return []

    async def breaks() -> list[object]:
        raise ValueError("broken\nin two lines")

    async def works() -> list[object]:
        return [ok("a", "works", "yes")]

    checks = [Check("a", look.__name__, look) for look in (hangs, breaks, works)]  # type: ignore[arg-type]
    lines = await carried_out(checks, seconds=0.1)
    assert [(line.name, line.state) for line in lines] == [
        ("hangs", State.FAULT),
        ("breaks", State.FAULT),
        ("works", State.OK),
    ]
    assert "no answer in 0.1 s" in lines[0].found
    assert "broken" in lines[1].found


async def test_the_command_prints_json_and_exits_with_1_for_a_fault(shop: Shop) -> None:
    given = variables(shop, CRON_SECRET="x" * 64)
    ran = await asyncio.to_thread(CliRunner().invoke, app, ["doctor", "--json"], env=given)
    told, _ = json.JSONDecoder().raw_decode(ran.stdout, ran.stdout.index("{\n"))  # the API under test logs beside it
    assert (ran.exit_code, told["ok"]) == (1, False)
    (left_over,) = [line for line in told["lines"] if line["name"] == "CRON_SECRET"]
    assert (left_over["state"], left_over["area"]) == ("fault", "left-overs")
    ran = await asyncio.to_thread(CliRunner().invoke, app, ["doctor"], env=given)
    assert "✗ CRON_SECRET: is still set" in ran.stdout
    assert "✓ migrations: at" in ran.stdout


def test_reading_goes_on_whatever_is_missing_or_contradicts() -> None:
    found = read({"INVENTORY_HOLD_MAX_TTL_SECONDS": "600", "HOLD_EVENTS_WEBHOOK_URL": "https://a.example", "X": "y"})
    assert set(found.refused) == {"DATABASE_URL", "INVENTORY_HOLD_TTL_SECONDS", "HOLD_EVENTS_WEBHOOK_SECRET"}
    assert not found.database_known
    assert set(read({}).refused) == {"DATABASE_URL"}
