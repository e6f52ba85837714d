"""The doctor on what answers, and on what is installed: the API, Stripe's webhooks, the packages."""

import sys
from pathlib import Path

import psycopg
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from temporalio.client import Client

from cli.doctor.api import api_lines, payments_heard
from cli.doctor.lines import Line, State
from cli.doctor.packages import package_lines
from cli.doctor.settings import read
from cli.doctor.stripe import webhook_line
from core.metrics import Telemetry
from dev.postgres import EmbeddedPostgres
from tests.conftest import FAST
from tests.operations.examining import examine, faults, said, variables
from tests.paying import Shop
from tests.stack import SHOP, running_stack


async def test_an_api_of_another_release_is_named(shop: Shop) -> None:
    found = faults(await api_lines(read(variables(shop)), "9.9.9"))
    assert "this is 9.9.9" in found["api: answers"]


async def test_an_api_under_bypass_is_named(shop: Shop, database: str, temporal: Client) -> None:
    async with running_stack(database, temporal, with_worker=False, SKIP_INVENTORY_VALIDATION="1") as stack:
        found = faults(await examine(shop, INVENTORY_AUTHORITY_URL=stack.url))
    assert set(found) == {"api: answers"}
    assert "degraded" in found["api: answers"]
    assert "the bypass is in force" in found["api: answers"]


async def test_an_api_that_does_not_reach_its_database_is_named(
    shop: Shop, temporal: Client, tmp_path_factory: pytest.TempPathFactory
) -> None:
    server = EmbeddedPostgres(tmp_path_factory.mktemp("stopped"), settings=FAST)
    server.start()
    server.stop()
    async with running_stack(server.url, temporal, with_worker=False) as stack:
        found = faults(await examine(shop, INVENTORY_AUTHORITY_URL=stack.url))
    assert "unavailable" in found["api: answers"]
    assert "database: Postgres does not answer." in found["api: answers"]


async def test_an_address_of_something_else_is_named(shop: Shop) -> None:
    lines = await examine(shop, INVENTORY_AUTHORITY_URL=shop.stripe.url)
    assert "is no Holdfast" in faults(lines)["api: answers"]
    assert said(lines, "stripe", "webhooks arrive").state is State.NOT_APPLICABLE


def webhooks(*results: str, heard: bool | None = None) -> Line:
    """Return what the doctor says of an API that has had such events, beside what the database tells of payments."""
    registry = CollectorRegistry()
    telemetry = Telemetry(registry)
    for result in results:
        telemetry.stripe_event("payment_intent.succeeded", result, known=True)
    return webhook_line(generate_latest(registry).decode(), payments_heard=heard)


def test_webhooks_with_another_secret_are_named() -> None:
    line = webhooks("invalid_signature", "invalid_signature")
    assert (line.state, line.found[0]) == (State.FAULT, "2")
    assert "signing secret" in str(line.fix)
    assert webhooks("invalid_signature", "told").state is State.OK


def test_that_no_webhook_arrives_is_a_fault_where_one_was_due() -> None:
    line = webhooks(heard=False)
    assert line.state is State.FAULT
    assert "point an endpoint at" in str(line.fix)
    assert webhooks().state is State.NOT_APPLICABLE  # nobody has paid yet


async def test_webhooks_that_another_api_takes_arrive(shop: Shop, temporal: Client) -> None:
    corner = await shop.corner()
    paid = await corner.checkout()
    await corner.pay(paid["checkoutSessionId"])
    await corner.until_status(paid["holdId"], "committed")
    url = shop.stack.settings.database_url.get_secret_value()
    async with running_stack(url, temporal, with_worker=False) as other:
        lines = await examine(shop, INVENTORY_AUTHORITY_URL=other.url)
    line = said(lines, "stripe", "webhooks arrive")
    assert (line.state, line.found[:16]) == (State.OK, "none at this API")


async def test_a_payment_that_sells_its_hold_at_the_deadline_was_not_heard_of(shop: Shop, database: str) -> None:
    heard = []
    for hold, status, reason, moment in (
        ("released", "released", "cancelled", "5 minutes"),
        ("by-the-shop", "committed", "committed", "5 minutes"),
        ("asked-for", "committed", "payment", "-1 second"),
        ("told", "committed", "payment", "5 minutes"),
        ("asked-for-again", "committed", "payment", "-1 second"),
    ):
        with psycopg.connect(database) as connection:
            connection.execute(
                """INSERT INTO "InventoryHold"
                ("shopId", id, status, reason, "paymentSessionId", "expiresAt", "committedAt")
                VALUES (%s, %s, %s, %s, 'cs_test_1', now(), now() - %s::interval)""",
                [SHOP, hold, status, reason, moment],
            )
        heard.append(await payments_heard(read(variables(shop, DATABASE_URL=database))))
    assert heard == [None, None, False, True, True]


def packages() -> list[Line]:
    return list(package_lines())


def test_what_is_installed_is_imported() -> None:
    assert faults(packages()) == {}
    assert said(packages(), "packages", "holdfast_client").state is State.OK


@pytest.mark.parametrize(
    ("line", "module"), [("holdfast api", "api.app"), ("python -m worker", "worker"), ("holdfast", "cli.main")]
)
def test_a_program_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch, line: str, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    found = faults(packages())[f"packages: {line}"]
    assert module in found
    assert "pip install --force-reinstall holdfast" in found


def test_a_command_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.doctor.packages.entry_points", lambda **_: ())
    assert "not installed" in faults(packages())["packages: holdfast"]


def test_a_client_that_cannot_be_imported_is_named_and_one_that_is_not_installed_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "holdfast_client"]:
        monkeypatch.delitem(sys.modules, module)
    (tmp_path / "holdfast_client.py").write_text("raise RuntimeError('half of it is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    assert "half of it is missing" in faults(packages())["packages: holdfast_client"]
    monkeypatch.setitem(sys.modules, "holdfast_client", None)
    assert said(packages(), "packages", "holdfast_client").state is State.NOT_APPLICABLE
