"""The doctor's checks of the API, of Stripe's webhooks and of the installed packages."""

import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from temporalio.client import Client

from cli.doctor.api import check_api
from cli.doctor.packages import check_packages
from cli.doctor.results import CheckResult, State
from cli.doctor.settings import read
from cli.doctor.stripe import check_webhooks
from core.metrics import Telemetry
from tests.operations.diagnosis import diagnose_shop, faults, result_of, url_of_no_server, variables
from tests.paying import Shop
from tests.stack import running_stack


async def test_an_api_of_another_release_is_a_fault(shop: Shop) -> None:
    found = faults(await check_api(read(variables(shop)), "9.9.9"))
    assert "9.9.9" in found["api: answers"]


async def test_an_api_under_bypass_is_a_fault(shop: Shop, database: str, temporal: Client) -> None:
    async with running_stack(database, temporal, with_worker=False, SKIP_INVENTORY_VALIDATION="1") as stack:
        found = faults(await diagnose_shop(shop, INVENTORY_AUTHORITY_URL=stack.url))
    assert set(found) == {"api: answers"}
    assert "degraded" in found["api: answers"]


async def test_an_api_without_its_database_is_a_fault(shop: Shop, temporal: Client) -> None:
    async with running_stack(url_of_no_server(), temporal, with_worker=False) as stack:
        found = faults(await diagnose_shop(shop, INVENTORY_AUTHORITY_URL=stack.url))
    assert "unavailable" in found["api: answers"]


async def test_a_server_that_is_not_holdfast_is_a_fault(shop: Shop) -> None:
    lines = await diagnose_shop(shop, INVENTORY_AUTHORITY_URL=shop.stripe.url)
    assert "api: answers" in faults(lines)
    assert result_of(lines, "stripe", "webhooks arrive").state is State.NOT_APPLICABLE


def webhooks(*results: str, last: float = 0, due: float = 0) -> CheckResult:
    """Return the result for an API that received events with these results, at the times before now, in seconds."""
    registry = CollectorRegistry()
    telemetry = Telemetry(registry)
    for result in results:
        telemetry.stripe_event("payment_intent.succeeded", result, known=True)
    now = 1_800_000_000.0
    for name, ago in (("event", last), ("event_due", due)):
        gauge = Gauge(f"inventory_stripe_{name}_timestamp_seconds", "", registry=registry)
        gauge.set(now - ago if ago else 0)
    return check_webhooks(generate_latest(registry).decode(), now)


def test_webhooks_signed_with_another_secret_are_a_fault() -> None:
    line = webhooks("invalid_signature", "invalid_signature", last=90_000)
    assert line.state is State.FAULT
    assert webhooks("invalid_signature", "told", last=10).state is State.OK


def test_webhooks_of_the_other_mode_alone_are_a_fault() -> None:
    assert webhooks("wrong_mode").state is State.FAULT
    assert webhooks("wrong_mode", "told", last=10).state is State.OK


def test_no_webhook_is_a_fault_only_once_one_is_overdue() -> None:
    assert webhooks().state is State.NOT_APPLICABLE
    assert webhooks(due=200).state is State.NOT_APPLICABLE
    assert webhooks(due=400).state is State.FAULT
    assert webhooks(last=7200).state is State.OK
    assert webhooks("told", last=7200, due=400).state is State.FAULT  # some came since the start, but none of late
    assert webhooks(last=330, due=310).state is State.OK
    assert "5 min ago" in webhooks(last=300).found


async def test_webhooks_that_another_api_receives_count(shop: Shop, temporal: Client) -> None:
    corner = await shop.corner()
    paid = await corner.checkout()
    await corner.pay(paid["checkoutSessionId"])
    await corner.until_status(paid["holdId"], "committed")
    url = shop.stack.settings.database_url.get_secret_value()
    async with running_stack(url, temporal, with_worker=False) as other:
        lines = await diagnose_shop(shop, INVENTORY_AUTHORITY_URL=other.url)
    assert result_of(lines, "stripe", "webhooks arrive").state is State.OK


def packages() -> list[CheckResult]:
    return list(check_packages())


def test_installed_packages_can_be_imported() -> None:
    assert faults(packages()) == {}
    assert result_of(packages(), "packages", "holdfast_client").state is State.OK


@pytest.mark.parametrize(
    ("line", "module"), [("holdfast api", "api.app"), ("python -m worker", "worker"), ("holdfast", "cli.main")]
)
def test_a_program_that_cannot_be_imported_is_a_fault(monkeypatch: pytest.MonkeyPatch, line: str, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    found = faults(packages())[f"packages: {line}"]
    assert module in found


def test_a_command_that_is_not_installed_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.doctor.packages.entry_points", lambda **_: ())
    assert "packages: holdfast" in faults(packages())


def test_a_client_that_cannot_be_imported_is_a_fault_and_one_that_is_not_installed_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "holdfast_client"]:
        monkeypatch.delitem(sys.modules, module)
    (tmp_path / "holdfast_client.py").write_text("raise RuntimeError('half of it is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    assert "half of it is missing" in faults(packages())["packages: holdfast_client"]
    monkeypatch.setitem(sys.modules, "holdfast_client", None)
    assert result_of(packages(), "packages", "holdfast_client").state is State.NOT_APPLICABLE
